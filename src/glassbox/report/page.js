// What the page does besides being read: choose an explained image, show all of them by one explainer, see the images
// of a cell of the confusion matrix, sort a table. Without it everything is there, one below the other.
"use strict";
document.documentElement.classList.add("scripted");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

const choices = document.getElementById("choices");
const group = document.getElementById("group");
const shown = document.getElementById("shown");
const cases = all(".case");

const buttons = cases.map((one) => {
  const button = document.createElement("button");
  button.type = "button";
  const title = one.querySelector("h4").firstChild.textContent.trim();
  button.title = title;
  button.toggleAttribute("data-wrong", title.includes(", taken for "));
  const picture = document.createElement("img");
  picture.alt = title;
  button.append(picture);
  button.addEventListener("click", () => choose(one));
  choices.append(button);
  return button;
});

function choose(one) {
  cases.forEach((other, place) => {
    other.classList.toggle("chosen", other === one);
    buttons[place].setAttribute("aria-pressed", String(other === one));
    buttons[place].tabIndex = other === one ? 0 : -1; // one stop for Tab; the arrows go from image to image
  });
}

function draw() {
  cases.forEach((one, place) => {
    buttons[place].hidden = group.value !== "" && one.dataset.group !== group.value;
    const map = shown.value && one.querySelector(`[data-explainer="${shown.value}"] img`);
    const picture = buttons[place].firstChild;
    picture.src = (map || one.querySelector(".photo img")).src;
    picture.style.opacity = shown.value && !map ? "0.15" : ""; // a map that must not be shown
  });
  const left = cases.filter((one, place) => !buttons[place].hidden);
  if (!left.some((one) => one.classList.contains("chosen"))) choose(left[0]);
}

group.addEventListener("change", draw);
shown.addEventListener("change", draw);
choices.addEventListener("keydown", (event) => {
  const visible = buttons.filter((button) => !button.hidden);
  const place = visible.indexOf(document.activeElement);
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const goal = event.key in steps ? place + steps[event.key] : { Home: 0, End: visible.length - 1 }[event.key];
  if (place < 0 || goal === undefined || !visible[goal]) return;
  event.preventDefault();
  visible[goal].click();
  visible[goal].focus();
});

function follow() {
  const one = cases.find((one) => `#${one.id}` === location.hash);
  if (!one) return;
  group.value = "";
  draw();
  choose(one);
  one.scrollIntoView();
}

if (cases.some((one) => one.dataset.group === "mistake")) choose(cases.find((one) => one.dataset.group === "mistake"));
draw();
follow();
window.addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  // Where a page lies in another one, as in MLflow, a link to a place in it may lead nowhere.
  const link = event.target.closest('a[href^="#"]');
  const place = link && document.getElementById(link.getAttribute("href").slice(1));
  if (!place) return;
  event.preventDefault();
  if (place.matches(".case")) {
    group.value = "";
    draw();
    choose(place);
  }
  place.scrollIntoView();
});

const cell = document.getElementById("cell");
let kept = null;
function look(button) {
  cell.replaceChildren(document.getElementById(button.dataset.cell).content.cloneNode(true));
}
for (const button of all(".matrix button")) {
  button.addEventListener("pointerenter", () => kept || look(button));
  button.addEventListener("focus", () => kept || look(button));
  button.addEventListener("click", () => {
    const again = kept === button;
    kept?.setAttribute("aria-pressed", "false");
    kept = again ? null : button;
    button.setAttribute("aria-pressed", String(!again));
    look(button);
  });
}

if (cell) {
  // To begin with, the cell in which most is wrong.
  const wrong = all(".matrix button").filter((button) => !button.ariaLabel.includes(" recognised: "));
  const most = wrong.sort((a, b) => Number(b.textContent) - Number(a.textContent))[0];
  if (most) look(most);
}

for (const table of all(".sortable")) {
  all("thead th", table).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const upwards = header.getAttribute("aria-sort") !== "ascending";
      all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const body = table.tBodies[0];
      const value = (row) => {
        const text = row.cells[column].firstChild?.textContent.trim() ?? "";
        return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
      };
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what was not measured comes last
        return (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) * (upwards ? 1 : -1);
      });
      body.append(...rows);
    });
  });
}

// What the page does besides being read: choose an explained image, see the images of a cell of the confusion matrix,
// sort a table, read what a term means, open a figure at full size. Without it everything is there, one below the other.
"use strict";
document.documentElement.classList.add("scripted");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// Explained images.
const choices = byId("choices");
const cases = all(".case");
const filters = ["group", "truth", "outcome", "search"].map(byId);
const titleOf = (one) => one.querySelector("h4").firstChild.textContent.trim();

const buttons = new Map(
  cases.map((one) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = titleOf(one);
    button.toggleAttribute("data-wrong", one.dataset.outcome === "wrong");
    const picture = document.createElement("img");
    picture.alt = button.title;
    button.append(picture);
    button.addEventListener("click", () => choose(one));
    choices.append(button);
    return [one, button];
  }),
);

function choose(one) {
  for (const [other, button] of buttons) {
    other.classList.toggle("chosen", other === one);
    button.setAttribute("aria-pressed", String(other === one));
    button.tabIndex = other === one ? 0 : -1; // one stop for Tab; the arrows go from image to image
  }
  const button = buttons.get(one);
  const below = button.offsetTop - choices.offsetTop - choices.scrollTop; // the upper edge of the part that is seen
  if (below < 0 || below + button.offsetHeight > choices.clientHeight) choices.scrollTop += below;
  document.dispatchEvent(new CustomEvent("chosen", { detail: one }));
}

function matches(one) {
  const [group, truth, outcome, search] = filters.map((filter) => filter.value);
  const { group: ofGroup, truth: ofTruth, outcome: ofOutcome } = one.dataset;
  const sought = search.trim().toLowerCase();
  const text = `${titleOf(one)} ${one.querySelector("h4 small").textContent}`.toLowerCase();
  return (!group || group === ofGroup) && (!truth || truth === ofTruth) && (!outcome || outcome === ofOutcome) && text.includes(sought);
}

function draw() {
  const shown = byId("shown").value;
  const disagreement = (one) => Number(one.dataset.disagreement ?? -1);
  const ordered = byId("order").value ? [...cases].sort((a, b) => disagreement(b) - disagreement(a)) : cases;
  choices.append(...ordered.map((one) => buttons.get(one)));
  for (const [one, button] of buttons) {
    button.hidden = !matches(one);
    const map = shown && one.querySelector(`[data-explainer="${shown}"] img`);
    const picture = button.firstChild;
    picture.src = (map || one.querySelector(".photo img")).src;
    picture.style.opacity = shown && !map ? "0.15" : ""; // a map that must not be shown
  }
  const left = ordered.filter(matches);
  byId("found").textContent = left.length ? "" : "no image is like this";
  if (left.length && !left.some((one) => one.classList.contains("chosen"))) choose(left[0]);
}

function showCase(one) {
  for (const filter of filters) filter.value = "";
  draw();
  choose(one);
  (byId("explorer") ?? one).scrollIntoView();
}

for (const control of [...filters, byId("order"), byId("shown")]) control.addEventListener("input", draw);
byId("picker").addEventListener("submit", (event) => event.preventDefault());
choices.addEventListener("keydown", (event) => {
  const visible = [...choices.children].filter((button) => !button.hidden);
  const place = visible.indexOf(document.activeElement);
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const goal = event.key in steps ? place + steps[event.key] : { Home: 0, End: visible.length - 1 }[event.key];
  if (place < 0 || goal === undefined || !visible[goal]) return;
  event.preventDefault();
  visible[goal].click();
  visible[goal].focus();
});

// Links within the page. Where it lies in another page, as in MLflow, they would lead nowhere without this.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]:not(.term)');
  const place = link && byId(link.getAttribute("href").slice(1));
  if (!place) return;
  event.preventDefault();
  if (place.matches(".case")) showCase(place);
  else place.scrollIntoView();
});
const follow = () => {
  const one = cases.find((one) => `#${one.id}` === location.hash);
  if (one) showCase(one);
};
window.addEventListener("hashchange", follow);

// The section that is being read is marked in the navigation.
const sections = new Map(all("nav a").map((link) => [byId(link.getAttribute("href").slice(1)), link]));
const reading = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of sections.values()) link.removeAttribute("aria-current");
      sections.get(entry.target).setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "-20% 0px -75% 0px" },
);
for (const section of sections.keys()) reading.observe(section);

// Confusion matrix.
const cell = byId("cell");
let kept = null;
function look(button) {
  cell.replaceChildren(byId(button.dataset.cell).content.cloneNode(true));
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

// Tables. A term in a head stays a link; the rest of the head sorts.
for (const table of all(".sortable")) {
  all("thead th", table).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "⇅";
    button.ariaLabel = `Sort by ${header.textContent.trim()}`;
    header.append(button);
    button.addEventListener("click", () => {
      const upwards = header.getAttribute("aria-sort") !== "ascending";
      all("thead th", table).forEach((other) => {
        other.removeAttribute("aria-sort");
        other.lastChild.textContent = "⇅";
      });
      header.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      button.textContent = upwards ? "▲" : "▼";
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

// Terms: their entry in the glossary, beside the word.
const tip = byId("tip");
let explained = null;
function explain(link) {
  explained?.removeAttribute("aria-describedby");
  explained = link;
  tip.hidden = !link;
  if (!link) return;
  tip.textContent = byId(link.getAttribute("href").slice(1)).lastElementChild.textContent;
  link.setAttribute("aria-describedby", "tip");
  const box = link.getBoundingClientRect();
  const left = Math.min(Math.max(box.left, 8), document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + tip.offsetHeight + 8 < window.innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? box.bottom + 4 : box.top - tip.offsetHeight - 4}px`;
}
for (const link of all("a.term")) {
  link.addEventListener("pointerenter", () => explain(link));
  link.addEventListener("pointerleave", () => explain(null));
  link.addEventListener("focus", () => explain(link));
  link.addEventListener("blur", () => explain(null));
  link.addEventListener("click", (event) => {
    event.preventDefault(); // a finger does not hover
    explain(link);
  });
}
document.addEventListener("keydown", (event) => event.key === "Escape" && explain(null));
window.addEventListener("scroll", () => explained && explain(explained), { passive: true }); // it stays beside its word

// Figures at full size.
const full = byId("full");
for (const picture of all("figure:not(.evidence) > img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  button.ariaLabel = `Open at full size: ${picture.alt}`;
  picture.replaceWith(button);
  button.append(picture);
  button.addEventListener("click", () => {
    const [large] = all("img", full);
    large.src = picture.src;
    large.alt = picture.alt;
    full.showModal();
  });
}
full.addEventListener("click", (event) => event.target === full && full.close());

// The large map: its values under the pointer, its strength and scale, the regions of its image, and the probabilities
// without some of them. All numbers were computed by *explain*, but for the demo's, whose network is asked.
const explorer = byId("explorer");
if (explorer && cases.length) {
  const LEAST = 256; // pixels of the canvas along a side
  const STEPS = 127; // of a map's values on either side of zero
  const FOR = [255, 45, 35];
  const AGAINST = [30, 110, 255];
  const mean = explorer.dataset.mean.split(" ").map((value) => Math.round(255 * value));
  const canvas = byId("canvas");
  let side = LEAST; // of the canvas now: a whole number of times the image's
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [explainer, ofClass, opacity, scale] = ["explainer", "class", "opacity", "scale"].map(byId);
  const [outlines, removal] = ["outlines", "removal"].map(byId);
  let now = null; // the image that is shown: its pixels, maps, regions and which of these are hidden
  let pointer = null; // [column, row] of a map's values, 0..1

  async function unpacked(text, kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new kind(await new Response(stream).arrayBuffer());
  }

  async function opened(one) {
    const picture = new Image();
    picture.src = one.querySelector(".photo img").src;
    await picture.decode();
    const side = picture.width * Math.ceil(LEAST / picture.width);
    const pen = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, 0, 0, side, side);
    const maps = await Promise.all(
      all("td[data-values]", one).map(async (place) => {
        const values = await unpacked(place.dataset.values, Int8Array);
        const largest = Number(place.dataset.largest);
        const removed = place.dataset.removal.split(" ").filter(Boolean).map(Number);
        return { ...place.dataset, values, largest, removed, side: Math.sqrt(values.length), title: titleAbove(place) };
      }),
    );
    const labels = one.dataset.labels ? await unpacked(one.dataset.labels, Uint16Array) : null;
    const [whole, without] = ["whole", "without"].map((name) => JSON.parse(one.dataset[name] ?? "{}"));
    return { one, maps, labels, whole, without, hidden: new Set(), side, image: pen.getImageData(0, 0, side, side).data };
  }

  const titleAbove = (place) => place.closest("table").tHead.rows[0].cells[place.cellIndex].textContent;
  const chosenMap = () => now.maps.find((map) => map.explainer === explainer.value && map.class === ofClass.value);

  function options(select, values, preferred) {
    const known = values.map(([value]) => value);
    const goal = [select.value, preferred].find((value) => known.includes(value));
    select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
    select.value = goal ?? known[0] ?? "";
  }

  async function show(one) {
    const next = await opened(one);
    if (!one.classList.contains("chosen")) return; // another one was chosen meanwhile
    now = next;
    canvas.width = canvas.height = side = now.side;
    options(explainer, [...new Map(now.maps.map((map) => [map.explainer, map.title]))], explorer.dataset.first);
    options(ofClass, [...new Set(now.maps.map((map) => map.class))].map((name) => [name, name]));
    pointer = null;
    restore();
  }

  function restore() {
    now.hidden.clear();
    removal.value = 0;
    paint();
  }

  const regionAt = (x, y) => {
    const count = Math.sqrt(now.labels.length);
    return now.labels[Math.floor(y * count) * count + Math.floor(x * count)];
  };
  const valueAt = (map, x, y) => map.values[Math.floor(y * map.side) * map.side + Math.floor(x * map.side)];

  function removedPixels(map) {
    // Which of the map's squares are among the strongest. Equal values come in an order of their own each time they
    // are measured, so that of a region of one value any part may be meant.
    const share = Number(removal.value) / Math.max(1, map.removed.length - 1);
    const order = [...map.values.keys()].sort((a, b) => map.values[b] - map.values[a] || hash(a) - hash(b));
    return new Set(order.slice(0, Math.round(share * order.length)));
  }
  const hash = (number) => Math.imul(number + 1, 2654435761) >>> 0;

  function paint() {
    if (!now) return;
    const map = chosenMap();
    const output = context.createImageData(side, side);
    const alike = map ? now.maps.filter((other) => other.unit === map.unit) : [];
    const largest = map && scale.value === "common" ? Math.max(...alike.map((other) => other.largest)) : map?.largest;
    removal.max = map ? Math.max(1, map.removed.length - 1) : 1;
    removal.disabled = !map?.removed.length;
    const removed = map && Number(removal.value) ? removedPixels(map) : new Set();
    const strength = Number(opacity.value) / 100;
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const [x, y] = [column / side, row / side];
        const at = 4 * (row * side + column);
        let colour = [now.image[at], now.image[at + 1], now.image[at + 2]];
        const region = now.labels ? regionAt(x, y) : -1;
        const place = map ? Math.floor(y * map.side) * map.side + Math.floor(x * map.side) : -1;
        if (now.hidden.has(region) || removed.has(place)) colour = mean;
        else if (map && strength) {
          const value = (map.values[place] / STEPS) * (map.largest / (largest || 1));
          const cover = strength * Math.abs(value) ** 0.6;
          const grey = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
          const under = colour.map((part) => part + (grey - part) * strength);
          const over = value > 0 ? FOR : AGAINST;
          colour = under.map((part, channel) => (1 - cover) * part + cover * over[channel]);
        }
        output.data.set([...colour, 255], at);
      }
    }
    context.putImageData(output, 0, 0);
    if (now.labels && outlines.checked) drawOutlines();
    const mask = now.one.querySelector(".photo svg path");
    if (mask) drawMask(mask);
    if (pointer) drawPointer();
    read(map);
    say(map);
  }

  function drawOutlines() {
    const count = Math.sqrt(now.labels.length); // of labels along a side
    const unit = side / count;
    context.beginPath();
    for (let row = 0; row < count; row++) {
      for (let column = 0; column < count; column++) {
        const here = now.labels[row * count + column];
        if (column + 1 < count && now.labels[row * count + column + 1] !== here) {
          context.moveTo((column + 1) * unit, row * unit);
          context.lineTo((column + 1) * unit, (row + 1) * unit);
        }
        if (row + 1 < count && now.labels[(row + 1) * count + column] !== here) {
          context.moveTo(column * unit, (row + 1) * unit);
          context.lineTo((column + 1) * unit, (row + 1) * unit);
        }
      }
    }
    stroke("#ffffff", 3);
    stroke("#000000", 1);
  }

  function stroke(colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }

  function drawMask(path) {
    context.save();
    const unit = side / path.ownerSVGElement.viewBox.baseVal.width;
    context.scale(unit, unit);
    context.strokeStyle = "#009e73";
    context.lineWidth = 3 / unit;
    context.stroke(new Path2D(path.getAttribute("d")));
    context.restore();
  }

  function drawPointer() {
    context.beginPath();
    context.arc(pointer[0] * side, pointer[1] * side, 8, 0, 2 * Math.PI);
    stroke("#ffffff", 4);
    stroke("#000000", 2);
  }

  function read(map) {
    const parts = [];
    if (pointer && map) {
      const value = (valueAt(map, ...pointer) / STEPS) * map.largest;
      parts.push(`${map.title}, for ${map.class}: ${signed(value)} (${map.unit})`);
    }
    if (pointer && now.labels) {
      const region = regionAt(...pointer);
      const without = now.without[ofClass.value]?.[region];
      parts.push(`region ${region}${without === undefined ? "" : `: without it alone the probability of ${ofClass.value} is ${percent(without)} instead of ${percent(now.whole[ofClass.value])}`}`);
    }
    byId("reading").textContent = parts.length ? `${parts.join("; ")}.` : "Point at a pixel to read its value; press a region to hide it.";
  }
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(2)}`;
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  function say(map) {
    const share = Number(removal.value) / Math.max(1, (map?.removed.length ?? 2) - 1);
    byId("removed").textContent = percent(share).replace(".0", "");
    const name = ofClass.value;
    let text = `Nothing is hidden: the probability of ${name} is ${percent(now.whole[name] ?? map?.removed[0] ?? NaN)}.`;
    if (now.hidden.size && explorer.dataset.live) {
      ask(name, [...now.hidden]);
      return;
    }
    if (now.hidden.size === 1 && !Number(removal.value)) {
      const [region] = now.hidden;
      text = `Without region ${region} the probability of ${name} is ${percent(now.without[name][region])}.`;
    } else if (now.hidden.size) {
      text = "The probability without these regions together was not computed: hide one, or remove the strongest pixels.";
    } else if (map && Number(removal.value)) {
      text = `Without the strongest ${byId("removed").textContent} of the pixels the probability of ${name} is ${percent(map.removed[Number(removal.value)])}.`;
    }
    byId("probability").textContent = text;
  }

  async function ask(name, hidden) {
    const body = JSON.stringify({ class: name, hidden });
    const answer = await (await fetch(explorer.dataset.live, { method: "POST", body })).json();
    if (ofClass.value !== name || String([...now.hidden]) !== String(hidden)) return; // something else was chosen meanwhile
    const regions = `region${hidden.length > 1 ? "s" : ""} ${hidden.join(", ")}`;
    byId("probability").textContent = answer.error ?? `Without ${regions} the probability of ${name} is ${percent(answer.probability)}.`;
  }

  function toggle() {
    if (!pointer || !now.labels) return;
    const region = regionAt(...pointer);
    if (!now.hidden.delete(region)) now.hidden.add(region);
    removal.value = 0;
    paint();
  }

  const inside = (value) => Math.min(Math.max(value, 0), 0.9999);
  function point(event) {
    const box = canvas.getBoundingClientRect();
    pointer = [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }
  canvas.addEventListener("pointermove", (event) => {
    point(event);
    if (now) read(chosenMap());
  });
  canvas.addEventListener("pointerleave", () => {
    pointer = null;
    paint();
  });
  canvas.addEventListener("click", (event) => {
    point(event); // a finger has left before its click comes
    toggle();
  });
  canvas.addEventListener("keydown", (event) => {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (x || y) {
      const step = 1 / 32;
      const [left, top] = pointer ?? [0.5 - x * step, 0.5 - y * step];
      pointer = [inside(left + x * step), inside(top + y * step)];
      paint();
    } else if (event.key === "Enter" || event.key === " ") toggle();
    else return;
    event.preventDefault();
  });
  for (const control of [explainer, ofClass, opacity, scale, outlines]) control.addEventListener("input", paint);
  removal.addEventListener("input", () => {
    now.hidden.clear();
    paint();
  });
  byId("restore").addEventListener("click", restore);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("chosen", (event) => show(event.detail));
  document.addEventListener("click", (event) => {
    // A small map opens as the large one.
    const place = event.target.closest("td[data-values]");
    if (!place || !now || !now.one.contains(place)) return;
    [explainer.value, ofClass.value] = [place.dataset.explainer, place.dataset.class];
    paint();
  });
}

// To begin with, a mistake.
if (cases.length) choose(cases.find((one) => one.dataset.outcome === "wrong") ?? cases[0]);
draw();
follow();

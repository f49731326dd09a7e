// Gives the picked architectures their colours in all figures.
"use strict";

const DASHES = ["1 0", "7 3", "2 3", "9 3 2 3", "4 4", "12 3", "1 4", "6 2 2 2 2 2"]; // as in legend.py
const MARKERS = [
  "M20 2a4 4 0 1 0 .01 0z", "M16 2h8v8h-8z", "M20 1l5 9h-10z", "M20 0l5 6l-5 6l-5-6z",
  "M20 11l5-9h-10z", "M25 6l-9 5v-10z", "M15 6l9 5v-10z", "M14 5h12v2h-12z",
];
const boxes = [...document.querySelectorAll(".picker input")];
const slots = []; // by slot: a picked architecture's name
let latest = 0;

function swatch(slot) {
  const colour = slot < 0 ? "var(--faint)" : `var(--c${slot})`;
  const line = `<path d="M0 6h40" fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${DASHES[slot] ?? "1 0"}"/>`;
  return line + (slot < 0 ? "" : `<path d="${MARKERS[slot]}" fill="${colour}"/>`);
}

function key(slot) {
  const item = document.createElement("li");
  item.innerHTML = `<svg viewBox="0 0 40 12">${swatch(slot)}</svg>`;
  item.append(slots[slot]);
  return item;
}

// Sorts grey rows first, so that picked ones are drawn on top of them.
function coloured(rows) {
  const slotted = rows.map((row) => ({ ...row, slot: "a" in row ? slots.indexOf(row.a) : 0 }));
  return slotted.sort((one, other) => one.slot - other.slot);
}

function showPicked() {
  for (const box of boxes) {
    box.parentNode.querySelector("svg").innerHTML = swatch(slots.indexOf(box.value));
  }
  for (const list of document.querySelectorAll(".keys")) {
    list.replaceChildren(...[...slots.keys()].filter((slot) => slots[slot]).map(key));
  }
}

async function pick(event) {
  const box = event.target;
  if (box.checked) {
    let slot = [...MARKERS.keys()].find((each) => !slots[each]);
    if (slot === undefined) {
      slot = latest;
      latest = (latest + 1) % MARKERS.length;
      boxes.find((each) => each.value === slots[slot]).checked = false;
    }
    slots[slot] = box.value;
  } else {
    slots[slots.indexOf(box.value)] = undefined;
  }
  showPicked();
  document.getElementById("picked").textContent = `in colour: ${slots.filter(Boolean).join(", ")}`;
  for (const figure of document.querySelectorAll("figure:has(.keys)")) await draw(figure);
}

async function start() {
  for (const box of boxes) {
    const slot = Number(box.dataset.slot);
    box.checked = slot >= 0;
    if (slot >= 0) slots[slot] = box.value;
    box.addEventListener("change", pick);
  }
  showPicked();
  dressed = coloured;
  await drawAll();
}

start();

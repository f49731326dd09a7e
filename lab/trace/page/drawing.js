/* Shared by ladder and timeline: create SVG elements, cut texts to fit. */
"use strict";
const CHARACTER = 7.25; // px, width of a character in the 12 px monospaced font

function element(parent, name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function cut(text, room) {
  const most = Math.max(1, Math.floor(room / CHARACTER));
  return text.length <= most ? text : text.slice(0, most - 1) + "…";
}

// The page of one image: what explorer.js needs of page.js.
"use strict";
document.documentElement.classList.add("scripted");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const cases = all(".case");
const choose = (one) => document.dispatchEvent(new CustomEvent("chosen", { detail: one }));
const draw = () => {};
const follow = () => {};

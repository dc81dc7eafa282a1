"use strict";
const groups = [...document.querySelectorAll(".rows")].map(
  group => [group, [...group.querySelectorAll("tr")], parseInt(group.style.containIntrinsicHeight.split(" ").pop())]);
const find = document.querySelector("#find");
let state = "";
function filter() {
  const text = find.value.toLowerCase();
  for (const [group, rows, height] of groups) {
    let shown = 0;
    for (const row of rows) {
      row.hidden = (state && row.dataset.state !== state) ||
        (text && !row.textContent.toLowerCase().includes(text));
      shown += !row.hidden;
    }
    group.hidden = !shown;
    // How high it counts while it is not in sight.
    group.style.containIntrinsicHeight = `${height * shown / rows.length}px`;
  }
}
find.addEventListener("input", filter);
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => {
    state = state === button.dataset.state ? "" : button.dataset.state;
    for (const other of document.querySelectorAll("nav button"))
      other.setAttribute("aria-pressed", String(other.dataset.state === state));
    filter();
  });
}
for (const svg of document.querySelectorAll("svg.plan")) {
  const light = (event, on) => {
    const node = event.target.closest(".node");
    if (!node) return;
    node.classList.toggle("on", on);
    for (const edge of svg.querySelectorAll(`.to-${node.id}`)) {
      edge.classList.toggle("on", on);
      document.getElementById(edge.dataset.from).classList.toggle("on", on);
    }
  };
  svg.addEventListener("mouseover", event => light(event, true));
  svg.addEventListener("mouseout", event => light(event, false));
}

"use strict";
// Moves the threshold. Without this script the page shows the same counts as a table.
function perCent(part, whole) {
  const share = whole ? 100 * part / whole : 0;
  if (share > 0 && share < 0.1) return "under 0.1 %";
  if (share > 99.9 && share < 100) return "over 99.9 %";
  return Number(share.toPrecision(3)) + " %";
}

function counted(number, whole, what) {
  const [part, all] = [number, whole].map((value) => value.toLocaleString("en-US"));
  return `${part} of ${all} ${what} (${perCent(number, whole)})`;
}

for (const panel of document.querySelectorAll(".threshold-panel")) {
  const slider = panel.querySelector("input");
  const first = Number(panel.dataset.first);
  const step = Number(panel.dataset.step);
  const left = Number(panel.dataset.left);
  const right = Number(panel.dataset.right);
  const lines = panel.closest("section").querySelectorAll("path.threshold");
  const inputs = [...panel.querySelectorAll("[data-images]")].map((element) => ({
    text: element.querySelector("output"),
    images: element.dataset.images.split(" ").map(Number),
    faces: element.dataset.faces.split(" ").map(Number),
  }));
  const update = () => {
    const index = Number(slider.value);
    const value = (first + index) * step;
    const isPlain = Math.abs(value) < 1e6 && panel.dataset.digits < 7;
    const text = isPlain ? value.toFixed(panel.dataset.digits) : String(Number(value.toPrecision(4)));
    panel.querySelector("label output").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    const x = left + (right - left) * index / slider.max;
    for (const line of lines) {
      line.setAttribute("transform", `translate(${x - left} 0)`);
      line.classList.add("is-set");
    }
    for (const input of inputs) {
      input.text.textContent = counted(input.images[index], input.images[0], "images with a face pass") +
        ", " + counted(input.faces[index], input.faces[0], "faces");
    }
  };
  slider.addEventListener("input", update);
  panel.hidden = false;
  update();
}

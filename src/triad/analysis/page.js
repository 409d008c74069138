// Copies paths, and tells of the point of a curve that is nearest to the pointer. The page is whole without it.
for (const button of document.querySelectorAll("button")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    try { await navigator.clipboard.writeText(code.textContent); } catch { document.execCommand("copy"); }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}

const tip = document.getElementById("tip");

function readPoints(path) {
  const numbers = path.getAttribute("d").match(/-?\d+/g).map(Number);
  const points = [[numbers[0], numbers[1]]];
  for (let at = 2; numbers.length > at; at += 2) {
    const [x, y] = points[points.length - 1];
    points.push([x + numbers[at], y + numbers[at + 1]]);
  }
  return points;
}

function findNearest(curves, x, y) {
  let nearest = { distance: Infinity };
  for (const { path, points } of curves) {
    for (const point of points) {
      const distance = Math.hypot(point[0] - x, point[1] - y);
      if (nearest.distance > distance) nearest = { distance, path, point };
    }
  }
  return nearest;
}

for (const plot of document.querySelectorAll(".plot")) {
  let curves, hot;
  const [left, right, bottom, top] = plot.dataset.window.split(" ").map(Number);
  const { width, height } = plot.viewBox.baseVal;
  const leave = () => { tip.style.display = "none"; hot?.classList.remove("hot"); };
  plot.parentElement.addEventListener("pointerleave", leave);
  plot.parentElement.addEventListener("pointermove", (event) => {
    curves ??= [...plot.querySelectorAll(".run")].map((path) => ({ path, points: readPoints(path) }));
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    const { path, point } = findNearest(curves, at.x, at.y);
    leave();
    hot = path;
    hot.classList.add("hot");
    const x = left + point[0] / width * (right - left), y = top - point[1] / height * (top - bottom);
    tip.textContent = `${path.querySelector("title").textContent}\n${plot.dataset.x} ${+x.toPrecision(4)}: ${plot.dataset.y} ${+y.toPrecision(4)}`;
    tip.style.display = "block";
    const past = Math.max(0, event.clientX + 16 + tip.offsetWidth - innerWidth + 8);
    tip.style.left = `${event.clientX + 16 - past}px`;
    tip.style.top = `${event.clientY + 18}px`;
  });
}

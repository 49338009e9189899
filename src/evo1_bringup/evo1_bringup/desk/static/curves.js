// Curves on a canvas, in the colours of the page.
export const COLOURS = ["#4c78c8", "#e0823d", "#3aa66a", "#c94f7c", "#8a63c9", "#3aa0b8", "#9a8a2f", "#7a7a7a"];

export function drawCurves(canvas, curves, { end, zero = 0, least = 0, shaded = [], marks = [], log = false } = {}) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
  pen.scale(scale, scale);
  const bend = (value) => log ? Math.log10(Math.max(value, 1e-12)) : value;
  const all = curves.flatMap((curve) => curve.values).filter((value) => value !== null).map(bend);
  if (!all.length) return;
  let low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
  const missing = Math.max(least, 1e-3 * Math.abs(high), 1e-9) - (high - low);
  if (missing > 0) [low, high] = [low - missing / 2, high + missing / 2]; // what rests shall look at rest
  const last = end || curves.flatMap((curve) => curve.times).reduce((a, b) => Math.max(a, b), 1e-3);
  const left = 52, bottom = 18, x = (time) => left + (width - left - 6) * time / last;
  const y = (value) => 6 + (height - bottom - 10) * (1 - (bend(value) - low) / (high - low));
  pen.font = "11px system-ui";
  pen.fillStyle = "rgba(211, 35, 47, .2)";
  for (const [from, to] of shaded) pen.fillRect(x(from), 4, Math.max(1, x(to) - x(from)), height - bottom - 6);
  pen.fillStyle = style.color;
  const number = (value) => Number(value.toPrecision(3)).toString(), told = (value) => number(log ? 10 ** value : value);
  pen.fillText(told(high), 2, 14);
  pen.fillText(told(low), 2, height - bottom - 2);
  pen.fillText(number(0 - zero), left, height - 4);
  pen.fillText(number(last - zero), width - 44, height - 4);
  pen.strokeStyle = "rgba(128, 128, 128, .5)";
  line(pen, [[left, 4], [left, height - bottom], [width - 6, height - bottom]], []);
  for (const mark of marks.slice(1)) line(pen, [[x(mark), 4], [x(mark), height - bottom]], [2, 3]);
  for (const { times, values, colour, dashed } of curves) {
    pen.strokeStyle = colour;
    let piece = [];
    times.forEach((time, place) => {
      if (values[place] === null) { line(pen, piece, dashed ? [5, 4] : []); piece = []; }
      else piece.push([x(time), y(values[place])]);
    });
    line(pen, piece, dashed ? [5, 4] : []);
  }
}

function line(pen, points, dashes) {
  pen.setLineDash(dashes);
  pen.lineWidth = 1.5;
  pen.beginPath();
  points.forEach(([x, y], place) => place ? pen.lineTo(x, y) : pen.moveTo(x, y));
  pen.stroke();
}

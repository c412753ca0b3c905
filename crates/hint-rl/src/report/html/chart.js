// Charts in SVG: lines with bands, and stacked areas.

const HEIGHT = 190;
const DASHES = ["", "5 3", "1.5 3", "8 3 1.5 3", "2 2", "6 2 2 2", "1 1"];

/**
 * A chart of curves {label, color, dash, points}. The last curve of a stacked chart is on top. `options`: title,
 * about, unit, axis, range, stacked, and the keys in place of those that the curves give.
 */
function chart(options, curves) {
  const figure = el("figure", { class: "chart" }, el("h3", {}, options.title), el("p", {}, options.about));
  const drawn = options.stacked ? stack(curves) : curves;
  const labeled = drawn.filter((curve) => curve.label);
  const direct = !options.keys && !options.stacked && labeled.length <= 4 && labeled.every((curve) => curve.label.length <= 12);
  const named = options.keys ?? (direct ? [] : labeled);
  if (named.length) figure.append(keys(named, options.stacked));
  const host = el("div");
  figure.append(host);
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now && now !== width) host.replaceChildren(draw(options, drawn, (width = now), direct));
  }).observe(host);
  return figure;
}

function keys(curves, stacked) {
  const sample = (curve) => stacked
    ? el("i", { class: "swatch", "--color": curve.color })
    : svg("svg", { viewBox: "0 0 18 8", "aria-hidden": "true" }, svg("line", {
      x1: 0, x2: 18, y1: 4, y2: 4, stroke: curve.color, "stroke-width": 2, "stroke-dasharray": curve.dash }));
  return el("div", { class: "keys" }, curves.map((curve) => el("span", {}, sample(curve), curve.label)));
}

/** Curves as areas on top of each other: `low` and `high` are the edges, `mean` stays the value. */
function stack(curves) {
  const sums = new Map();
  return curves.map((curve) => ({
    ...curve,
    points: curve.points.map((point) => {
      const low = sums.get(point.step) ?? 0;
      sums.set(point.step, low + point.mean);
      return { ...point, low, high: low + point.mean };
    }),
  }));
}

function draw(options, curves, width, direct) {
  const { unit, stacked } = options;
  const all = curves.flatMap((curve) => curve.points);
  const ends = direct ? Math.max(0, ...curves.map((curve) => 6.3 * curve.label.length + 8)) : 0;
  const values = all.flatMap((point) => [stacked ? point.high : point.mean, point.low, point.high, point.raw])
    .filter((value) => value !== null && value !== undefined);
  const [bottom, top] = domain(values, unit, stacked);
  const marks = ticks(bottom, top, 4);
  const names = marks.map((mark) => tickName(mark, marks, unit));
  const box = { left: 8 + 6.4 * Math.max(...names.map((name) => name.length)), right: width - Math.max(ends, 10), top: 8, bottom: HEIGHT - 34 };
  const [first, last] = options.range;
  const x = (value) => box.left + (last > first ? (value - first) / (last - first) : 0.5) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - bottom) / (top - bottom)) * (box.bottom - box.top);

  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", tabindex: 0,
    "aria-label": spoken(options, curves) });
  marks.forEach((mark, at) => {
    const line = { x1: box.left, x2: box.right, y1: y(mark), y2: y(mark) };
    picture.append(svg("line", { class: mark === 0 ? "base" : "grid", ...line }),
      svg("text", { class: "axis", x: box.left - 5, y: y(mark) + 4, "text-anchor": "end" }, names[at]));
  });
  const room = Math.max(2, Math.floor((box.right - box.left) / 70));
  const whole = (mark) => options.axis === "tokens" || Number.isInteger(mark);
  for (const mark of ticks(first, last, room).filter(whole)) {
    picture.append(svg("text", { class: "axis", x: x(mark), y: box.bottom + 16, "text-anchor": "middle" }, tickName(mark, [], "x")));
  }
  picture.append(svg("text", { class: "axis", x: (box.left + box.right) / 2, y: HEIGHT - 4, "text-anchor": "middle" },
    options.axis === "tokens" ? "sampled tokens" : "step"));
  curves.forEach((curve) => picture.append(...shapes(curve, x, y, stacked)));
  if (direct) endLabels(curves, y, box).forEach((label) => picture.append(label));
  follow(picture, options, curves, { x, y, box, width });
  return picture;
}

function tickName(mark, marks, unit) {
  if (unit === "share" || unit === "share_difference") {
    const step = marks.length > 1 ? 100 * (marks[1] - marks[0]) : 1;
    return `${(100 * mark).toFixed(step < 0.1 ? 2 : Number.isInteger(+step.toFixed(6)) ? 0 : 1).replace("-", "−")} %`;
  }
  const size = Math.abs(mark);
  if (size >= 1e6) return `${+(mark / 1e6).toFixed(2)} M`;
  if (size >= 1e4) return `${+(mark / 1e3).toFixed(1)} k`;
  if (size !== 0 && size < 1e-4) return mark.toExponential(0);
  return String(+mark.toPrecision(6)).replace("-", "−");
}

function shapes(curve, x, y, stacked) {
  const path = (list, of) => list.map((point, at) => `${at ? "L" : "M"}${x(point.x).toFixed(1)} ${y(of(point)).toFixed(1)}`).join("");
  const banded = curve.points.filter((point) => point.low !== null && point.low !== undefined && point.high !== null);
  const back = [...banded].reverse();
  const found = [];
  if (banded.length > 1) {
    const area = path(banded, (point) => point.high) + path(back, (point) => point.low).replace("M", "L") + "Z";
    found.push(svg("path", { d: area, fill: curve.color, "fill-opacity": stacked ? 0.75 : 0.14 }));
  }
  if (stacked) return found;
  if (curve.points.some((point) => point.raw !== undefined)) {
    found.push(svg("path", { d: path(curve.points, (point) => point.raw), fill: "none", stroke: curve.color, "stroke-opacity": 0.28 }));
  }
  found.push(svg("path", { d: path(curve.points, (point) => point.mean), fill: "none", stroke: curve.color,
    "stroke-width": 1.8, "stroke-linejoin": "round", "stroke-dasharray": curve.dash }));
  if (curve.points.length <= 15) {
    for (const point of curve.points) {
      found.push(svg("circle", { cx: x(point.x), cy: y(point.mean), r: 2.6, fill: curve.color }));
    }
  }
  return found;
}

/** Names at the ends of the lines, moved apart where they meet. */
function endLabels(curves, y, box) {
  const ends = curves.filter((curve) => curve.label && curve.points.length).map((curve) => {
    return { curve, at: y(curve.points.at(-1).mean) };
  });
  ends.sort((one, other) => one.at - other.at);
  ends.forEach((end, index) => {
    if (index) end.at = Math.max(end.at, ends[index - 1].at + 13);
  });
  const excess = ends.length ? Math.max(0, ends.at(-1).at - box.bottom) : 0;
  return ends.map(({ curve, at }) =>
    svg("text", { class: "end", x: box.right + 6, y: at - excess + 4, "--color": curve.color }, curve.label));
}

/** The chart in words, for those who do not see it. */
function spoken({ title, unit }, curves) {
  const ends = curves.filter((curve) => curve.points.length).map((curve) => {
    const [first, last] = [curve.points[0], curve.points.at(-1)];
    return `${curve.label || title}: ${inUnit(first.mean, unit)} at step ${first.step}, ${inUnit(last.mean, unit)} at step ${last.step}`;
  });
  return `${title}. ${ends.join("; ")}`;
}

/** Shows the values under the pointer, or of the point that the arrow keys move to. */
function follow(picture, options, curves, { x, box, width }) {
  const places = [...new Map(curves.flatMap((curve) => curve.points).map((point) => [point.x, point])).values()];
  places.sort((one, other) => one.x - other.x);
  const cursor = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  picture.append(cursor);
  let at = places.length - 1;
  const show = (clientX, clientY) => {
    const place = places[at];
    if (!place) return;
    cursor.setAttribute("x1", x(place.x));
    cursor.setAttribute("x2", x(place.x));
    cursor.setAttribute("visibility", "visible");
    const rows = curves.flatMap((curve) => {
      const point = nearest(curve.points, place.x);
      if (!point || Math.abs(x(point.x) - x(place.x)) > 6) return [];
      const interval = !options.stacked && point.low !== null && point.low !== undefined && point.low !== point.high
        ? ` [${inUnit(point.low, options.unit)}, ${inUnit(point.high, options.unit)}]` : "";
      return [el("i", { class: "swatch", "--color": curve.color }), el("dt", {}, curve.label || options.title),
        el("dd", {}, inUnit(point.mean, options.unit) + interval)];
    });
    const tokens = options.axis === "tokens" ? ` · ${number(place.x)} tokens` : "";
    showTip(clientX, clientY, el("div", { class: "soft" }, `step ${place.step}${tokens}`), el("dl", {}, rows));
  };
  const hide = () => {
    cursor.setAttribute("visibility", "hidden");
    hideTip();
  };
  const move = (event) => {
    const frame = picture.getBoundingClientRect();
    const within = ((event.clientX - frame.left) / frame.width) * width;
    at = places.reduce((best, place, index) =>
      Math.abs(x(place.x) - within) < Math.abs(x(places[best].x) - within) ? index : best, 0);
    show(event.clientX, event.clientY);
  };
  picture.addEventListener("pointermove", move);
  picture.addEventListener("pointerdown", move);
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    at = Math.min(places.length - 1, Math.max(0, at + by));
    const frame = picture.getBoundingClientRect();
    show(frame.left + (x(places[at].x) / width) * frame.width, frame.top);
  });
}

function nearest(list, x) {
  return list.reduce((best, point) => (!best || Math.abs(point.x - x) < Math.abs(best.x - x) ? point : best), null);
}

// Numbers of curves: scales, ticks, means over seeds, running means.

/** About `count` round numbers that cover `low` to `high`. */
function ticks(low, high, count) {
  const rough = (high - low || Math.abs(high) || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

/** The range of the vertical axis. Shares start at 0, and end at 1 where the data is near it. */
function domain(values, unit, stacked) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (!Number.isFinite(low)) return [0, 1];
  if (low >= 0 && (unit === "share" || stacked || low < 0.6 * high)) low = 0;
  if (unit === "share" && high > 0.5) return [0, Math.max(1, high)];
  if (low === high) [low, high] = low === 0 ? [0, 1] : [Math.min(low, 0), Math.max(high, 0)];
  const room = 0.04 * (high - low);
  return [low === 0 ? 0 : low - room, high === 0 ? 0 : high + room];
}

/** The mean of the `window` points that end at each point. */
function running(values, window) {
  if (window <= 1) return values;
  return values.map((value, at) => {
    if (value === null) return null;
    const present = values.slice(Math.max(0, at - window + 1), at + 1).filter((one) => one !== null);
    return present.reduce((sum, one) => sum + one, 0) / present.length;
  });
}

/**
 * A line of a chart over the runs of a curve: points {x, step, mean, low, high}. Of several runs, low and high are
 * the lowest and the highest; of one, the ends of its interval, if it has one. Of lines that are `parts` of a whole,
 * one that is missing is 0 where another is there.
 */
function points(runs, line, axis, parts = null) {
  const bySteps = new Map();
  for (const run of runs) {
    const column = parts ? filled(run, line, parts) : run.columns[line.column];
    if (!column) continue;
    const [low, high] = line.interval?.map((name) => run.columns[name]) ?? [];
    column.forEach((value, at) => {
      if (value === null) return;
      const step = run.steps[at];
      const x = axis === "tokens" ? run.tokens[at] : step;
      if (!bySteps.has(step)) bySteps.set(step, []);
      bySteps.get(step).push({ x, value, low: low?.[at], high: high?.[at] });
    });
  }
  const mean = (all, of) => all.reduce((sum, one) => sum + of(one), 0) / all.length;
  const found = [...bySteps].sort(([one], [other]) => one - other).map(([step, all]) => {
    const values = all.map((one) => one.value);
    const several = runs.length > 1;
    return {
      step,
      x: mean(all, (one) => one.x),
      mean: mean(all, (one) => one.value),
      low: several ? Math.min(...values) : all[0].low ?? null,
      high: several ? Math.max(...values) : all[0].high ?? null,
      count: all.length,
    };
  });
  return found;
}

function filled(run, line, parts) {
  const columns = parts.map((part) => run.columns[part.column]).filter(Boolean);
  const own = run.columns[line.column];
  return run.steps.map((_, at) => own?.[at] ?? (columns.some((column) => column[at] !== null) ? 0 : null));
}

/** Points whose means are running means, with the raw ones beside them. */
function smoothed(found, window) {
  if (window <= 1) return found;
  const of = (key) => running(found.map((point) => point[key]), window);
  const [mean, low, high] = [of("mean"), of("low"), of("high")];
  return found.map((point, at) => ({ ...point, raw: point.mean, mean: mean[at], low: low[at], high: high[at] }));
}

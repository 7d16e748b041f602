// 学习曲线：几个种子的统计，和画成细线、带、粗线。探索器和训练场共用。

const MISSING = 2047; // 代表 NaN 的整数，与 explorer.py 相同

// 打包的字节变成数。bytes 是 DataView，先是所有整数的低八位，再是所有的高位。
export function unpack({ data, scale, offset }) {
  return Float64Array.from({ length: data.byteLength / 2 }, (_, i) => {
    const step = data.getUint8(i) + 256 * data.getUint8(data.byteLength / 2 + i);
    return step === MISSING ? NaN : offset + scale * step;
  });
}

// NaN 处沿用前一个值；开头的 NaN 不动。
export function forwardFill(row) {
  let last = NaN;
  return row.map((x) => (last = Number.isFinite(x) ? x : last));
}

// 四分位均值：去掉最高和最低的各四分之一（取整数个），平均剩下的。
export function iqm(scores) {
  const sorted = [...scores].sort((a, b) => a - b);
  const cut = Math.floor(sorted.length / 4);
  return mean(sorted.slice(cut, sorted.length - cut));
}

function mean(xs) {
  return xs.reduce((sum, x) => sum + x, 0) / xs.length;
}

// 分位数，线性插值，同 numpy.quantile。
export function quantile(scores, q) {
  const sorted = [...scores].sort((a, b) => a - b);
  const place = q * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

// 每个种子最后十分之一的平均（跳过 NaN），同 ppo_lib.statistics.final_scores：不是整数时，最早的点只算零头。
// 去掉一个回合也没有走完的种子。
export function finalScores(rows) {
  return rows.map((row) => {
    const weight = (i) => Math.min(1, Math.max(0, row.length / 10 - (row.length - 1 - i)));
    const known = row.map((x, i) => [x, weight(i)]).filter(([x, w]) => Number.isFinite(x) && w > 0);
    const total = known.reduce((sum, [, w]) => sum + w, 0);
    return known.reduce((sum, [x, w]) => sum + x * w, 0) / total; // 没有时 0 / 0 = NaN
  }).filter(Number.isFinite);
}

// 科学记数，例如 2.5×10⁻⁴。
export function scientific(x) {
  if (x === 0) return "0";
  const [digits, power] = Number(x.toPrecision(6)).toExponential().replace("+", "").split("e");
  const raised = [...power].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  return `${digits.replace("-", "−")}×10${raised}`;
}

// 一条轴上的值怎么写：有小于千分之一的，整条轴都用科学记数，读者不必数零。
export function axisFormat(values) {
  return values.some((x) => x !== 0 && Math.abs(x) < 1e-3) ? scientific : short;
}

// 一组种子画成细线、带和粗线；返回之前略去还有种子没有数的点。
function paintSeeds(svg, scale, steps, rows, styles) {
  const filled = rows.map(forwardFill);
  const columns = steps.map((step, i) => [step, filled.map((row) => row[i])])
    .filter(([, scores]) => scores.every(Number.isFinite));
  if (styles.band && columns.length) {
    const edge = (q) => columns.map(([x, s]) => `${scale.X(x).toFixed(1)} ${scale.Y(quantile(s, q)).toFixed(1)}`);
    addSvg(svg, "path", { d: `M${[...edge(0.975), ...edge(0.025).reverse()].join("L")}Z`, ...styles.band });
  }
  for (const row of filled) addLine(svg, scale, steps.map((x, i) => [x, row[i]]), styles.thin);
  addLine(svg, scale, columns.map(([x, scores]) => [x, iqm(scores)]), styles.middle);
}

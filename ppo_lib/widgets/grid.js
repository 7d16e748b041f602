// 网格：一张由按钮拼成的热图、两格之差的区间。十五次试探和热图共用。

// 一格的编号 ↔ 各轴的下标，按行排
export function cellOf(sizes, places) {
  return places.reduce((cell, place, i) => cell * sizes[i] + place, 0);
}

export function placesOf(sizes, cell) {
  const places = [];
  for (const size of [...sizes].reverse()) {
    places.unshift(cell % size);
    cell = Math.floor(cell / size);
  }
  return places;
}

// 一格写成“β₁ 0.9，ε 0.2”
function nameCell(axes, places) {
  return axes.map(({ short: name, values }, i) => `${name} ${axisFormat(values)(values[places[i]])}`).join("，");
}

// 第几名：比它高的有几个，加一；并列的同名次
export function ranks(scores) {
  const sorted = [...scores].sort((a, b) => b - a);
  return Array.from(scores, (score) => sorted.indexOf(score) + 1);
}

// ---- 自助法：种子少，不用抽，全部的重抽都数一遍。返回 [[四分位均值, 概率], …]

export function resamples(scores) {
  const n = scores.length;
  const found = [];
  function choose(picked, from, chance) { // chance：这几个种子各占几个名额的机会
    if (picked.length === n) return found.push([iqm(picked), chance]);
    if (from === n) return undefined;
    let more = chance;
    for (let count = 0; picked.length + count <= n; count++) {
      const left = n - picked.length;
      if (count) more *= (left - count + 1) / count / n;
      choose([...picked, ...Array(count).fill(scores[from])], from + 1, more);
    }
    return undefined;
  }
  choose([], 0, 1);
  return found;
}

function weightedQuantile(pairs, q) {
  const sorted = [...pairs].sort(([a], [b]) => a - b);
  let sum = 0;
  return (sorted.find(([, chance]) => (sum += chance) >= q - 1e-12) ?? sorted.at(-1))[0];
}

const interval = (pairs) => [0.025, 0.975].map((q) => weightedQuantile(pairs, q));

// 一格的四分位均值的 95% 置信区间
export function band(scores) {
  return interval(resamples(scores));
}

// A 减 B：[差, 下界, 上界]，两组各自重抽
export function difference(a, b) {
  const [ours, base] = [resamples(a), resamples(b)];
  const pairs = ours.flatMap(([x, p]) => base.map(([y, q]) => [x - y, p * q]));
  return [iqm(a) - iqm(b), ...interval(pairs)];
}

// ---- 颜色：viridis 的五个点，中间插值；压在上面的字用黑还是白

const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

// 相对亮度，0 到 1（WCAG 2 的定义）
function luminance(rgb) {
  const [r, g, b] = rgb.map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function shade(level) {
  const at = Math.min(Math.max(level, 0), 1) * 4;
  const low = Math.min(Math.floor(at), 3);
  const mixed = VIRIDIS[low].map((x, i) => Math.round(x + (at - low) * (VIRIDIS[low + 1][i] - x)));
  return { background: `rgb(${mixed.join(" ")})`, color: luminance(mixed) > 0.179 ? "#000" : "#fff" }; // 0.179：两种字的对比一样大
}

// ---- 热图：一格一个按钮，Tab 进来，方向键走动。返回画的函数：
// draw({rows, columns, corner, cell}) 里 cell(i, j) 给出 {text, level, name, pressed, look, disabled, mark}；look 是按下的格的样子。

function addCells(parent, { label, onPress }) {
  const grid = add(parent, "div", { className: "cells" }, { role: "grid", "aria-label": label });
  let shape = "";
  let buttons = [];
  let at = [0, 0];

  function moveTo(i, j, focus) {
    at = [Math.min(Math.max(i, 0), buttons.length - 1), Math.min(Math.max(j, 0), buttons[0].length - 1)];
    buttons.flat().forEach((button) => (button.tabIndex = -1));
    const button = buttons[at[0]][at[1]];
    button.tabIndex = 0;
    if (focus) button.focus();
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -99], End: [0, 99] };
  grid.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moveTo(at[0] + step[0], at[1] + step[1], true);
  });

  function build(rows, columns, corner) {
    grid.replaceChildren();
    grid.style.gridTemplateColumns = `minmax(3.2em, auto) repeat(${columns.length}, minmax(0, 1fr))`;
    const head = add(grid, "div", {}, { role: "row" });
    add(head, "div", { textContent: corner }, { role: "columnheader" });
    for (const text of columns) add(head, "div", { textContent: text }, { role: "columnheader" });
    buttons = rows.map((text, i) => {
      const row = add(grid, "div", {}, { role: "row" });
      add(row, "div", { textContent: text }, { role: "rowheader" });
      return columns.map((_, j) => {
        const button = add(add(row, "div", {}, { role: "gridcell" }), "button", { type: "button", tabIndex: -1 });
        button.addEventListener("click", () => {
          moveTo(i, j);
          onPress(i, j);
        });
        return button;
      });
    });
    moveTo(...at);
  }

  return ({ rows, columns, corner, cell }) => {
    const wanted = JSON.stringify([rows, columns, corner]);
    if (wanted !== shape) build(rows, columns, corner);
    shape = wanted;
    buttons.forEach((row, i) => row.forEach((button, j) => {
      const { text, level, name, pressed, look = "chosen", disabled, mark = "" } = cell(i, j);
      const known = Number.isFinite(level);
      Object.assign(button.style, known ? shade(level) : { background: "", color: "" });
      button.className = pressed ? look : "";
      button.replaceChildren();
      add(button, "span", { textContent: text });
      if (mark) button.append(" "); // 看见的是“30 A”，名字里也是
      if (mark) add(button, "span", { className: "sign", textContent: mark });
      button.setAttribute("aria-label", name);
      if (pressed !== undefined) button.setAttribute("aria-pressed", String(Boolean(pressed)));
      if (disabled) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }));
  };
}

// 切一片：固定 fixed 这个轴，其余两个轴一横一竖，竖的大值在上。两个轴的网格不用固定
function slice(axes, fixed, place) {
  const [y, x] = axes.map((_, i) => i).filter((i) => i !== fixed);
  const words = (i) => axes[i].values.map(axes[i].values.some((v) => v !== 0 && v < 1e-3) ? short : axisFormat(axes[i].values));
  const places = (i, j) => {
    const all = axes.map(() => place);
    all[y] = axes[y].values.length - 1 - i;
    all[x] = j;
    return all;
  };
  return { rows: words(y).reverse(), columns: words(x), corner: `${axes[y].short} ↑ ${axes[x].short} →`, places };
}

// ---- 存在读者自己的浏览器里；存不进去（隐私模式等）也照常能玩

function recall(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(`${key}:${location.pathname}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(`${key}:${location.pathname}`, JSON.stringify(value));
  } catch {
    // 留不下来
  }
}

// ---- 预测的总分：一页上的几处共用，{编号: {right, of}}；锁定以后不改

const SCORE = "ppo:guesses";

// 记下一处，报给数进度的脚本；已经记过的不动
function keepScore(el, id, total, name, result) {
  const all = recall(SCORE, {});
  if (result && !all[name]) {
    all[name] = result;
    remember(SCORE, all);
  }
  const sum = (key) => Object.values(all).reduce((so, one) => so + one[key], 0);
  const detail = { kind: "guess", id, done: sum("of"), correct: sum("right"), total };
  el.dispatchEvent(new CustomEvent("ppo:progress", { bubbles: true, detail }));
  return all[name];
}

// 一行总分，别处的预测锁定了也跟着变；返回断开它的函数
function addScore(root, id) {
  const line = add(root, "p", { className: "score" });
  const hear = ({ detail }) => {
    if (detail?.kind !== "guess" || detail.id !== id) return;
    line.textContent = `预测的总分：${detail.correct} 分；锁定了 ${detail.total} 分里的 ${detail.done} 分。`;
  };
  document.addEventListener("ppo:progress", hear);
  return () => document.removeEventListener("ppo:progress", hear);
}

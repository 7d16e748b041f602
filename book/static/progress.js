// 检查清单和进度：做过什么，记在这台设备的浏览器里（localStorage），不上传。
//
// 存的是 {页: {项: {done, correct, total}}}。项是 "check:编号"（检查清单，编号由文字算出）、
// "exercise:题号"（读者自己勾的“练习 7.1 做完了”）、"quiz:编号"（小测验用事件 ppo:progress 报来；练习也可以这样报）
// 或 "guess:编号"（实验室里锁定的预测，也是报来的）。
// 每页有哪些项，做书时由 extension/progress.py 写进 PPO_PAGES。
(() => {
  "use strict";
  const KEY = "ppo-progress";
  const KINDS = { check: "检查清单", quiz: "小测验", exercise: "练习", guess: "预测" };
  const here = DOCUMENTATION_OPTIONS.pagename;
  let kept = {};
  let canSave = true; // 存不进浏览器时，至少这一页还记得

  function tidy(pages) {
    // 只留下认得的形状：导入的文件可能是随便什么
    const clean = {};
    for (const [page, items] of Object.entries(pages ?? {}))
      for (const [item, got] of Object.entries(items ?? {}))
        if (typeof got?.done === "boolean") {
          const numbers = ["correct", "total"].filter((name) => Number.isFinite(got[name]));
          (clean[page] ??= {})[item] = { done: got.done };
          for (const name of numbers) clean[page][item][name] = got[name];
        }
    return clean;
  }

  function load() {
    if (!canSave) return;
    try {
      kept = tidy(JSON.parse(localStorage.getItem(KEY)));
    } catch {} // 存的东西坏了，或不许读：用手上的
  }

  function save() {
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
      canSave = true;
    } catch {
      canSave = false;
    }
    draw();
  }

  function record(page, item, result) {
    load(); // 别的标签页可能刚存过
    (kept[page] ??= {})[item] = result;
    save();
  }

  function count(page) {
    const heard = Object.keys(kept[page] ?? {}).filter((item) => !item.startsWith("check:"));
    const items = [...new Set([...(PPO_PAGES[page] ?? []), ...heard])];
    const tally = (some) => ({
      done: some.filter((item) => kept[page]?.[item]?.done).length,
      total: some.length,
    });
    const kinds = Object.entries(KINDS)
      .map(([kind, name]) => [name, tally(items.filter((item) => item.startsWith(`${kind}:`)))])
      .filter(([, { total }]) => total);
    return { ...tally(items), words: kinds.map(([name, n]) => `${name} ${n.done}/${n.total}`).join("，") };
  }

  // ---- 显示

  function boxes() {
    return document.querySelectorAll("input[data-progress]");
  }

  function pageOf(link) {
    const root = new URL(document.documentElement.dataset.content_root, location.href);
    if (link.getAttribute("href") === "#") return here;
    const path = link.href.split("#")[0];
    if (!path.startsWith(root.href)) return null;
    return decodeURIComponent(path.slice(root.href.length)).replace(/\.html$/, "");
  }

  function draw() {
    for (const box of boxes()) box.checked = kept[here]?.[box.dataset.progress]?.done ?? false;
    for (const link of document.querySelectorAll(".bd-sidenav a.reference.internal")) {
      const { done, total, words } = count(pageOf(link));
      let badge = link.querySelector(".ppo-count");
      if (total === 0) {
        badge?.remove();
        continue;
      }
      badge ??= link.appendChild(document.createElement("span"));
      badge.className = "ppo-count";
      badge.classList.toggle("ppo-done", done === total);
      badge.textContent = ` ${done}/${total}`;
      badge.title = `完成了 ${total} 项里的 ${done} 项：${words}`;
    }
    for (const bar of document.querySelectorAll("progress[data-page]")) {
      const { done, total, words } = count(bar.dataset.page);
      Object.assign(bar, { max: total || 1, value: done });
      document.querySelector(`[data-count="${bar.dataset.page}"]`).textContent =
        total === 0 ? "没有要记的" : `${done}/${total}`;
      document.querySelector(`[data-kinds="${bar.dataset.page}"]`).textContent = words;
    }
  }

  // ---- 路线图页上的按钮

  function say(text) {
    document.getElementById("ppo-said").textContent = text;
  }

  function exportFile() {
    const text = JSON.stringify({ kind: KEY, version: 1, pages: kept }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `ppo-progress-${new Date().toLocaleDateString("sv")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    say(`已经导出为 ${link.download}。`);
  }

  async function importFile(chooser) {
    const file = chooser.files[0];
    if (!file) return;
    try {
      const { kind, version, pages } = JSON.parse(await file.text());
      if (kind !== KEY || version !== 1) throw new Error("不是这本书导出的进度");
      load();
      // 两边合在一起：任何一边做过的都算做过
      for (const [page, items] of Object.entries(tidy(pages)))
        for (const [item, got] of Object.entries(items))
          if (got.done || !kept[page]?.[item]) (kept[page] ??= {})[item] = got;
      save();
      say(`已经导入 ${file.name}，与这里原有的进度合在一起。`);
    } catch (error) {
      say(`没有导入：${error instanceof SyntaxError ? "文件不是 JSON" : error.message}。进度没有变。`);
    }
    chooser.value = ""; // 同一个文件可以再选一次
  }

  function clearAll() {
    if (!confirm("清空全部进度？清空以后找不回来，可以先导出一份。")) return;
    kept = {};
    save();
    say("已经清空。");
  }

  // ---- 开始

  function start() {
    load();
    draw();
    for (const box of boxes()) {
      box.autocomplete = "off"; // 后退时浏览器会照次序填回勾；由记着的说了算
      box.addEventListener("change", () =>
        record(here, box.dataset.progress, { done: box.checked })
      );
    }
    const chooser = document.getElementById("ppo-file");
    document.getElementById("ppo-export")?.addEventListener("click", exportFile);
    document.getElementById("ppo-import")?.addEventListener("click", () => chooser.click());
    document.getElementById("ppo-clear")?.addEventListener("click", clearAll);
    chooser?.addEventListener("change", () => importFile(chooser));
  }

  document.addEventListener("ppo:progress", ({ detail }) => {
    // done 是答了几题，或者做完没有
    const { kind, id, done, correct, total } = detail;
    if (!["quiz", "exercise", "guess"].includes(kind)) return;
    const finished = typeof done === "number" ? done >= total : Boolean(done);
    const item = `${kind}:${id}`;
    const result = tidy({ [here]: { [item]: { done: finished, correct, total } } })[here][item];
    if (JSON.stringify(result) !== JSON.stringify(kept[here]?.[item])) record(here, item, result);
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY && event.key !== null) return;
    if (event.newValue === null) kept = {}; // 在别的标签页里清空了
    load();
    draw();
  });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

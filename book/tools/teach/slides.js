// 幻灯片：键盘翻页；一张放不下，就缩小。
(() => {
  const slides = [...document.querySelectorAll(".slide")];

  for (const key of Object.keys(localStorage)) // 上一堂课的答案不留
    if (key.startsWith(`ppo:quiz:${location.pathname}:`)) localStorage.removeItem(key);

  const STEP = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
  addEventListener("keydown", (event) => {
    const step = STEP[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!event.key.startsWith("Page") && event.target.closest("input, button, select, [tabindex]")) return; // 小组件自己的键
    event.preventDefault();
    const here = Math.round(scrollY / innerHeight);
    slides[Math.min(Math.max(here + step, 0), slides.length - 1)].scrollIntoView({ behavior: "instant" });
  });

  function overflows(content) {
    return content.scrollHeight > content.clientHeight + 1 || content.scrollWidth > content.clientWidth + 1;
  }

  const fitting = new Set();
  const redrawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));

  // 从大到小试；小组件先试着分成两栏。每试一种，等小组件照新的宽度画好再量。
  async function fit(content) {
    if (fitting.has(content)) return;
    fitting.add(content);
    const widget = content.querySelector(".ppo-widget");
    const sizes = [...(widget ? [1.4, 1.2] : []), 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
    for (const [size, columns] of sizes.flatMap((size) => (widget ? [[size, false], [size, true]] : [[size, false]]))) {
      content.style.zoom = size;
      content.classList.toggle("columns", columns);
      if (widget) await redrawn();
      if (!overflows(content)) break;
    }
    fitting.delete(content);
  }

  function fitAll() {
    slides.forEach((slide) => fit(slide.querySelector(".content")));
  }

  const watcher = new ResizeObserver((entries) => {
    const contents = new Set(entries.map(({ target }) => target.closest(".content")));
    contents.forEach((content) => overflows(content) && fit(content));
  });
  for (const block of document.querySelectorAll(".content > *")) watcher.observe(block);
  addEventListener("resize", fitAll);
  addEventListener("load", fitAll);
})();

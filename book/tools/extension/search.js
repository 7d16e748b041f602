// 搜索页的中文部分，由 search.py 接在 language_data.js 的末尾，改写 searchtools.js 的几个函数。
// 索引里另有 counts：{词: {页的序号: 出现的次数}}。KEY_PAGES 也由 search.py 给出：{配置的键: 细讲它的那一页}。

// 不取词干：英文多是标识符，照原样找；中文没有词干。
var Stemmer = function () {
  this.stemWord = (word) => word;
};

// 中文没有空格。把查询里的一串汉字切成索引里有的词：从左起，每次取最长的一个。
// 整串都对不上时原样返回，好让结果为空，而不是变成“什么都算”。
var splitQuery = (query) => {
  const index = Search._index || { terms: {}, titleterms: {} };
  const known = (word) =>
    Object.hasOwn(index.terms, word) || Object.hasOwn(index.titleterms, word);

  const cutHan = (run) => {
    const words = [];
    let start = 0;
    while (start !== run.length) {
      let end = run.length;
      while (end !== start) {
        if (known(run.slice(start, end))) break;
        end -= 1;
      }
      if (end === start) {
        start += 1; // 索引里没有以这个字开头的词
      } else {
        words.push(run.slice(start, end));
        start = end;
      }
    }
    return words.length === 0 ? [run] : words;
  };

  // 复数的英文词找不到时，去掉 s 再找
  const cutLatin = (run) => {
    const word = run.replace(/^_+|_+$/g, "");
    const singular = word.replace(/s$/, "");
    return known(word.toLowerCase()) || !known(singular.toLowerCase()) ? word : singular;
  };

  const runs = query.match(/\p{Script=Han}+|[\p{Letter}\p{Number}_]+/gu) || [];
  return runs.flatMap((run) => {
    const parts = run.match(/\p{Script=Han}+|[^\p{Script=Han}]+/gu);
    return parts.flatMap((part) =>
      /\p{Script=Han}/u.test(part) ? cutHan(part) : [cutLatin(part)].filter(Boolean)
    );
  });
};

// 查询整个是术语表的词条，100 分；标题里有整个查询，8 到 16 分：都由 searchtools.js 给出。
// 这里给出其余的：查询里有一个词是词条，4 分；全文里每个词都有的页，出现得越多越靠前，1 到 7 分，
// 都出现在标题里再加 3 分；查的是配置的键，细讲它的那一章再加 20 分；没有哪一页每个词都有，就退而求其次，有几个算几个，不到 1 分。
Search.performTermsSearch = (searchTerms, excludedTerms) => {
  const { titleterms, counts, docnames, titles, filenames, indexentries } = Search._index;
  const vocabulary = Object.keys(counts);
  const pagesWith = (word) => {
    const found = {};
    const same = Object.hasOwn(counts, word);
    const singular = word.replace(/s$/, "");
    const exact = Object.hasOwn(counts, singular) ? new Set([word, singular]) : [word];
    const words = same ? exact : word.length > 2 ? vocabulary.filter((w) => w.includes(word)) : [];
    for (const one of words)
      for (const [file, count] of Object.entries(counts[one] || {}))
        found[file] = (found[file] || 0) + count;
    return found;
  };
  const inTitle = (word, file) => [titleterms[word] ?? []].flat().includes(Number(file));

  const wanted = [...searchTerms].map((word) => [word, pagesWith(word)]);
  const banned = new Set([...excludedTerms].flatMap((word) => Object.keys(pagesWith(word))));
  const results = [];
  const add = (file, anchor, score) =>
    results.push([docnames[file], titles[file], anchor, null, score, filenames[file]]);

  for (const word of searchTerms)
    for (const [file, id] of (Object.hasOwn(indexentries, word) && indexentries[word]) || [])
      add(file, `#${id}`, 4);

  const files = new Set(wanted.flatMap(([, found]) => Object.keys(found)));
  const having = (file) => wanted.filter(([, found]) => file in found);
  const somewhere = [...files].some((file) => having(file).length === wanted.length);
  for (const file of files) {
    const had = having(file);
    if (banned.has(file) || (somewhere && had.length < wanted.length)) continue;
    const share = had.map(([, found]) => found[file] / Math.max(...Object.values(found)));
    const titled = had.every(([word]) => inTitle(word, file)) ? 3 : 0;
    const home = had.some(([word]) => KEY_PAGES[word] === docnames[file]) ? 20 : 0;
    const score = 1 + 6 * Math.min(...share) + titled + home;
    add(file, "", somewhere ? score : (had.length + score / 10) / (wanted.length + 1));
  }
  return results;
};

// 术语表的词条：标题写明是哪一条，摘要连同解释一起显示。
const findEverything = Search._performSearch;
Search._performSearch = (...query) => {
  const names = {};
  for (const [name, places] of Object.entries(Search._index.indexentries))
    for (const [, id] of places)
      if (!names[id] || /\p{Script=Han}/u.test(name)) names[id] = name;
  const results = findEverything(...query);
  const nameOf = ([, , anchor]) => names[anchor.slice(1)];
  const explained = new Set(results.filter(nameOf).map(([page]) => page));
  for (const result of results) if (nameOf(result)) result[1] += ` > ${nameOf(result)}`;
  // 指到了词条，就不必再列它所在的整页；指到同一处的，只留最靠前的（在末尾）
  const place = ([page, , anchor]) => page + anchor;
  const last = new Map(results.map((result) => [place(result), result]));
  return results.filter(
    (result) => last.get(place(result)) === result && (result[2] || !explained.has(result[0]))
  );
};

// 公式写成一行字：\(1-\beta^t\) 变成 1-β^t。
const SYMBOLS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ϵ", varepsilon: "ε", theta: "θ", kappa: "κ",
  lambda: "λ", mu: "μ", nu: "ν", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", Phi: "Φ", ell: "ℓ", nabla: "∇",
  partial: "∂", sum: "∑", times: "×", cdot: "·", pm: "±", le: "≤", ge: "≥", approx: "≈",
  leftarrow: "←", infty: "∞", mid: "|", dots: "…", cdots: "…", top: "⊤",
};
const plainFormula = (tex) =>
  tex
    .replace(/\\[()]/g, "")
    .replace(/\\t?frac\{([^{}]*)\}\{([^{}]*)\}/g, "$1/$2")
    .replace(/\\sqrt\{([^{}]*)\}/g, "√($1)")
    .replace(/\\(hat|bar|overline|text\w*|math\w+|operatorname|bigl|bigr) ?/g, "")
    .replace(/\\([A-Za-z]+)/g, (_, name) => SYMBOLS[name] ?? name)
    .replace(/\\.|[{}]/g, "");

const readPage = (html) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  const spare = "script, style, svg, summary, .headerlink";
  for (const element of page.querySelectorAll(spare)) element.remove();
  for (const formula of page.querySelectorAll("div.math")) formula.textContent = "……";
  for (const formula of page.querySelectorAll("span.math"))
    formula.textContent = plainFormula(formula.textContent);
  return page;
};

// 一节自己的文字，不算它下面的小节；代码排在最后。
const ownText = (section, spare = "section") => {
  const own = section.cloneNode(true);
  for (const part of own.querySelectorAll(spare)) part.remove();
  own.append(...own.querySelectorAll("pre"));
  return own.textContent;
};

Search.htmlToText = (html, anchor) => {
  const page = readPage(html);
  const place = anchor && page.getElementById(anchor.slice(1))?.closest("dt, section");
  if (!place) return page.querySelector("article").textContent;
  return place.matches("dt") ? place.nextElementSibling.textContent : ownText(place);
};

// 指到整页的结果，改成指到词最全、最多的那一节；标题里的一个词算十个，代码里的算十分之一个。
const fullestSection = (html, words) => {
  const worth = (section) => {
    const title = section.querySelector("h1, h2, h3, h4").textContent;
    const texts = [[10, title], [0.9, ownText(section, "section, pre")], [0.1, ownText(section)]];
    const counts = [...words].map((word) =>
      texts.reduce((sum, [weight, text]) => sum + weight * (text.toLowerCase().split(word).length - 1), 0)
    );
    return counts.reduce((sum, count) => sum + count + (count && 1e6), 0);
  };
  const sections = [...readPage(html).querySelectorAll("article section[id]")];
  const worths = sections.map(worth);
  return `#${sections[worths.indexOf(Math.max(...worths))].id}`;
};

const summarize = Search.makeSearchSummary;
Search.makeSearchSummary = (html, words, anchor) => {
  const place = anchor || fullestSection(html, words);
  const summary = summarize(html, words, place);
  // 等摘要放进了结果，再改那里的链接
  if (summary) queueMicrotask(() => (summary.parentNode.querySelector("a").hash = place));
  return summary;
};

// 直接从磁盘打开时，浏览器不许一页去读另一页，摘要取不到，就不去取。
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

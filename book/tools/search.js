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

  const runs = query.match(/\p{Script=Han}+|[\p{Letter}\p{Number}_]+/gu) || [];
  return runs.flatMap((run) => {
    const parts = run.match(/\p{Script=Han}+|[^\p{Script=Han}]+/gu);
    return parts.flatMap((part) => (/\p{Script=Han}/u.test(part) ? cutHan(part) : [part]));
  });
};

// What is said of the bar under the pointer; it is the body of a function. Bokeh escapes what it returns.
const {data} = source
const word = (name) => words.data.text[data[name][special_vars.index]]
const line = (label, name) => (word(name) ? `${label} ${word(name)}` : "")
// Three decimals, or as many as it takes to tell the two times apart.
const length = data.right[special_vars.index] - data.left[special_vars.index]
const digits = Math.min(9, Math.max(3, length > 0 ? 2 - Math.floor(Math.log10(length)) : 3))
const at = (time) => `${time.toLocaleString("en", {maximumFractionDigits: digits})} ${unit}`
return [
  word("state"),
  line(names.awaited, "awaited"),
  line("at", "place"),
  line("woken by", "cause"),
  `from ${at(data.left[special_vars.index])} to ${at(data.right[special_vars.index])}`,
  line("the task:", "ended"),
].filter((text) => text).join("\n")

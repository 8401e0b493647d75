// Which rows are shown, and where: after a click on a name, a search, or a change of the window's size. It is the body
// of a function: see timeline_figure.py for its arguments. y counts rows, downward from 0.
const LOW_PX = 20 // a row
const HIGH_PX = 28 // where there are few
const NAMES_PX = 250
const NARROW_PX = 120 // of the names, in a window that is narrow
const is_narrow = window.innerWidth < 700
const {data} = rows
const count = data.group.length

if (action == "fold" || action == "unfold") {
  data.is_open.fill(action == "unfold" ? 1 : 0)
} else if (action == "toggle") {
  const chosen = rows.selected.indices.filter((row) => data.is_group[row])
  if (rows.selected.indices.length) {
    rows.selected.indices = [] // which brings us here again
  }
  if (!chosen.length) {
    return
  }
  for (const row of chosen) {
    data.is_open[row] = data.is_open[row] ? 0 : 1
  }
}

names.width = is_narrow ? NARROW_PX : NAMES_PX
places.visible = !is_narrow
axis.axis_label = labels[is_narrow ? 1 : 0]

// What is searched for: all of its words, in any order.
const wanted = search.value_input.toLowerCase().split(/\s+/).filter((word) => word)
const fits = (text) => wanted.every((word) => text.includes(word))
const found = tasks.data.search.map(fits)

const all_members = Array.from(members.data.task) // a plain array: parts of Bokeh's own are wrong
const of_row = (row) => all_members.slice(data.first_member[row], data.first_member[row + 1])
const is_shown = new Array(count)
const is_opened = new Array(count).fill(false)
const found_in = new Array(count).fill("") // how many of a lane's tasks fit, where some do
let group = 0
for (let row = 0; row < count; row++) {
  const inside = wanted.length ? of_row(row) : []
  if (data.is_group[row]) {
    group = row
    // A group of which only some fit is opened, to show these.
    is_opened[row] = data.is_open[row] || !inside.every((task) => found[task])
  }
  const is_found = inside.length ? inside.some((task) => found[task]) : fits(data.search[row])
  is_shown[row] = is_found && (!data.is_lane[row] || is_opened[group])
  const fitting = inside.filter((task) => found[task]).length
  if (data.is_lane[row] && fitting < inside.length) {
    found_in[row] = `${fitting.toLocaleString("en")} of `
  }
}

let y = 0
let number = 0
for (let row = 0; row < count; row++) {
  data.top[row] = is_shown[row] ? y : NaN
  data.bottom[row] = is_shown[row] ? y + data.height[row] : NaN
  data.middle[row] = data.top[row] + 0.5
  data.shade[row] = is_shown[row] && number % 2 ? "#F5F5F5" : "#FFFFFF"
  const sign = data.is_group[row] ? (is_opened[row] ? "▾ " : "▸ ") : ""
  data.shown[row] = sign + data.label[row].replace(": ", `: ${found_in[row]}`)
  if (is_shown[row]) {
    y += data.height[row]
    number += 1
  }
}
rows.change.emit()

for (const source of bars) {
  const {row, low, high, task, top, bottom, alpha} = source.data
  for (let bar = 0; bar < row.length; bar++) {
    top[bar] = data.top[row[bar]] + low[bar]
    bottom[bar] = data.top[row[bar]] + high[bar]
    alpha[bar] = task[bar] < 0 || found[task[bar]] ? 1 : 0.12
  }
  source.change.emit()
}

const some = found.filter((fit) => fit).length
told.text = wanted.length ? `${some.toLocaleString("en")} of ${found.length.toLocaleString("en")} tasks` : ""

// As many rows as there is room for; from the top after a search, else from where we were.
const inner = plot.inner_height || 400
const room = Math.max(1, inner / Math.max(LOW_PX, Math.min(HIGH_PX, inner / y)))
const height = Math.max(y, room)
const from = action == "search" ? 0 : Math.min(Math.max(0, range.end), height - room)
range.bounds = null
range.setv({start: from + room, end: from})
range.bounds = [0, height]
all_rows.setv({start: height, end: 0})
scrollbar.visible = y > room
write_awaited?.execute(plot)

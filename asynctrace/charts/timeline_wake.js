// Draws the arrow from what woke a task, or created it, to the bar under the pointer; it is the body of a function. It
// is asked for each kind of bar whenever the pointer or the page moves: see timeline_arrows.py for its arguments.
const HEAD_PX = 5 // from the bar to the middle of the arrow's head
const {indices} = cb_data.index
const source = cb_data.renderer.data_source
const bar = indices.length ? indices[indices.length - 1] : -1

// A lane that is folded away is seen in the row above its group.
function shown(row) {
  const {group, top, is_group} = rows.data
  let at = row
  while (at >= 0 && isNaN(top[at])) {
    do {
      at -= 1
    } while (at >= 0 && !is_group[at])
    if (at >= 0 && group[at] != group[row]) {
      return -1
    }
  }
  return at
}

function arrow() {
  const {waker, top, bottom, task, row, [at]: when} = source.data
  const from = bar < 0 || waker[bar] < 0 ? -1 : shown(waker[bar])
  if (from < 0 || from == row[bar]) {
    return null
  }
  const begin = rows.data.bottom[from] - 0.5
  const is_above = begin < top[bar]
  const end = is_above ? top[bar] : bottom[bar]
  const per_px = (range.start - range.end) / Math.max(1, plot.inner_height)
  const head = end + (is_above ? -HEAD_PX : HEAD_PX) * per_px
  return {x: [when[bar]], begin: [begin], end: [head], marker: [is_above ? "inverted_triangle" : "triangle"]}
}

const is_mine = arrows.owner == source
if (bar >= 0 || is_mine) {
  const data = arrow()
  const key = JSON.stringify(data)
  if (data != null ? key != arrows.key || !is_mine : is_mine) {
    arrows.owner = data != null ? source : null
    arrows.key = key
    arrows.data = data ?? {x: [], begin: [], end: [], marker: []}
  }
}

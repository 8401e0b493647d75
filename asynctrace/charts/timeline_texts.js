// Writes into each waiting bar what it waits for, as far as there is room for it in the part that can be seen. It is
// the body of a function: see timeline_figure.py for its arguments.
const CHARACTER_PX = 7.3
const FEWEST = 7 // characters
const MOST = 2000 // texts

function write() {
  texts.is_waiting = false
  const {left, right, top, bottom, awaited, alpha} = source.data
  const per_px = (time.end - time.start) / Math.max(1, plot.inner_width)
  const data = {x: [], y: [], text: [], alpha: []}
  for (let bar = 0; bar < left.length && data.x.length < MOST; bar++) {
    const begin = Math.max(left[bar], time.start)
    const end = Math.min(right[bar], time.end)
    const room = Math.floor(((end - begin) / per_px - 6) / CHARACTER_PX)
    if (room >= FEWEST && bottom[bar] > range.end && top[bar] < range.start && bottom[bar] - top[bar] > 0.6) {
      const text = words.data.text[awaited[bar]]
      data.x.push((begin + end) / 2)
      data.y.push((top[bar] + bottom[bar]) / 2)
      data.text.push(text.length <= room ? text : `${text.slice(0, room - 1)}…`)
      data.alpha.push(alpha[bar])
    }
  }
  texts.data = data
}

// Once a frame, however many ranges change in it.
if (!texts.is_waiting) {
  texts.is_waiting = true
  requestAnimationFrame(write)
}

// A finger that taps has no pointer that hovers: let Bokeh look there as if one did, once the finger has left.
const area = Bokeh.index.find_one(plot).canvas_view.events_el
const {left, top} = area.getBoundingClientRect()
const there = {clientX: left + cb_obj.sx, clientY: top + cb_obj.sy, pointerType: "mouse", isPrimary: true}
setTimeout(() => area.dispatchEvent(new PointerEvent("pointermove", there)), 50)

// The second of two clicks in quick succession, on the same name or on another: it selects a row as the first one did.
const {top, bottom} = rows.data
const row = top.findIndex((edge, row) => edge <= cb_obj.y && cb_obj.y < bottom[row])
if (row >= 0) {
  rows.selected.indices = [row]
}

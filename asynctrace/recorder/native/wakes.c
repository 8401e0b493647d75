/* What completed a future outside of any run: a transport's callback, or something unknown (probes/causes.py). */

#include "native.h"

enum { DEPTH = 40 /* frames to look at: a transport's callback is not far */ };

static PyObject *class_of; /* tells of a code: 1 I/O, 2 the loop, 0 neither */
static Map classes;        /* code -> that and 4; each code is kept, so that its address stays its own */

/* set_class_of_code(function): who tells; what was told before is forgotten. */
PyObject *
set_class_of_code(PyObject *Py_UNUSED(module), PyObject *function)
{
    Map earlier = classes; /* what a reference that goes sets off finds the map empty */
    classes = (Map){NULL, 0, 0, 0};
    for (size_t index = 0; earlier.slots != NULL && index <= earlier.mask; index++) {
        if (earlier.slots[index].value != 0) { /* a key is never taken out of it */
            Py_DECREF((PyObject *)earlier.slots[index].key);
        }
    }
    map_clear(&earlier);
    Py_XSETREF(class_of, Py_NewRef(function));
    return Py_NewRef(Py_None);
}

static int64_t
class_of_code(PyObject *code)
{
    int64_t known = map_get(&classes, code, 0);
    if (known != 0) {
        return known & 3;
    }
    PyObject *told = fault() ? NULL : class_of != NULL ? PyObject_CallOneArg(class_of, code) : PyLong_FromLong(0);
    known = told != NULL ? PyLong_AsLongLong(told) : -1;
    Py_XDECREF(told);
    if (known < 0) {
        return -1;
    }
    if (map_find(&classes, (uintptr_t)code) == NULL) { /* another thread may have asked meanwhile */
        if (map_set(&classes, code, known | 4) < 0) {
            return -1;
        }
        Py_INCREF(code);
    }
    return known;
}

int
completed_from(Core *core, PyFrameObject *frame, Cause *cause)
{
    *cause = (Cause){CAUSE_UNKNOWN, 0, 0, 0};
    int result = 0;
    for (int depth = 0; frame != NULL && depth < DEPTH; depth++) {
        PyObject *code = (PyObject *)PyFrame_GetCode(frame);
        if (depth == 0 && (cause->site = site_of_code(core, code)) < 0) {
            result = -1;
        }
        int64_t class = result == 0 ? class_of_code(code) : -1;
        Py_DECREF(code);
        if (class != 0) {
            result = class < 0 ? -1 : 0;
            cause->kind = class == 1 ? CAUSE_IO : CAUSE_UNKNOWN;
            break;
        }
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return result;
}

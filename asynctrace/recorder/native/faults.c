/* Faults for tests: each place in the hooks that can fail, for want of memory, can be made to (tests/integration/test_native_faults.py);
 * and each place in the fold (tests/unit/recorder/test_native_fold.py).
 *
 * The quickest ways have no such place: while faults are on they are not taken. A block then has room for one event, and
 * neither a thread's state nor a site is found in a cache.
 */

#include "native.h"

bool faults_are_on;

static int64_t reached; /* places since then */
static int64_t failing; /* the number of the one that fails; 0: none */

bool
fails_here(void)
{
    if (++reached != failing) {
        return false;
    }
    PyErr_NoMemory();
    return true;
}

/* fail_at(number): have the place that is reached as the n-th from now fail, none for 0; None turns this off again.
 * Return how many were reached before. */
PyObject *
fail_at(PyObject *Py_UNUSED(module), PyObject *number)
{
    long long next = number == Py_None ? 0 : PyLong_AsLongLong(number);
    if (next == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *before = PyLong_FromLongLong(reached);
    faults_are_on = number != Py_None;
    failing = next;
    reached = 0;
    forget_state();
    return before;
}

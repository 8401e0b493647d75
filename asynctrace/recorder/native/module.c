/* The native core of the recorder: the module. Its reference is `asynctrace.recorder.reference`. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "describing.h"

#ifdef Py_GIL_DISABLED
#error "the native core relies on the GIL: on a free-threaded build asynctrace uses its Python core"
#endif

static int
execute(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the native core works in the main interpreter only");
        return -1;
    }
    return add_scanner(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "asynctrace.recorder._native",
    .m_doc = "The native core of the recorder, in C.",
    .m_size = 0,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}

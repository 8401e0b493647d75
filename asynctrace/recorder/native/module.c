/* The native core of the recorder: the module. */

#include "bare_steps.h"
#include "describing.h"
#include "events.h"
#include "sieve.h"
#include "standins.h"

int add_fold(PyObject *module);                                    /* fold_type.c */
PyObject *set_class_of_code(PyObject *module, PyObject *function); /* wakes.c */
PyObject *fail_at(PyObject *module, PyObject *number);             /* faults.c */
PyObject *frame_key(PyObject *module, PyObject *frame);            /* frames.c */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef functions[] = {
    {"earliest", earliest_event, METH_O, "earliest(packed): the earliest of their times"},
    {"count", count_events, METH_O, "count(packed): how many events these are"},
    {"unpack", FAST(unpack_events), METH_FASTCALL, "unpack(packed, begin, end): an array of seven fields each"},
    {"slice", FAST(slice_events), METH_FASTCALL, "slice(packed, begin, end): some of them, packed"},
    {"settle", FAST(settle_events), METH_FASTCALL, "settle(pending, taken, until_ns, start_ns): (ready, pending)"},
    {"set_class_of_code", set_class_of_code, METH_O, "set_class_of_code(function): see wakes.c"},
    {"fail_at", fail_at, METH_O, "fail_at(number): for tests; see faults.c"},
    {"frame_key", frame_key, METH_O, "frame_key(frame): what stands for its coroutine in the tables; 0 for None"},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    if (require_main_interpreter() < 0) {
        return -1;
    }
    PyTypeObject *types[] = {
        &Addresses_Type, &Core_Type,        &ThreadState_Type, &TaskEntry_Type, &LoopState_Type,
        &Run_Type,       &CallbackRun_Type, &StepRun_Type,     &Shim_Type,      &CoroutineCallbacks_Type,
        &StackNotes_Type, &TracedCoroutine_Type, &BareStep_Type,   &Sieve_Type,
    };
    for (size_t index = 0; index < sizeof(types) / sizeof(types[0]); index++) {
        if (PyModule_AddType(module, types[index]) < 0) {
            return -1;
        }
    }
    if (learn_asyncio() < 0 || learn_frames() < 0 || learn_suspended() < 0 || add_scanner(module) < 0 ||
        add_fold(module) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "FRAMES_ARE_KNOWN", frames_are_known ? Py_True : Py_False);
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
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}

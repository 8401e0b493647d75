/* The native core of reading a .pftrace: the module. Its reference is `asynctrace.formats.perfetto_reader`. */

#include "decoder_events.h"
#include "interpreter.h"

enum { AT_ONCE = 8192 }; /* events: their fields, 448 KiB, stay in a processor's cache until they are moved on */

/* Append events to an array of their fields, typecode "q". */
static int
append(PyObject *target, const int64_t *fields, size_t count)
{
    /* Bytes of their own: a target that is no array could keep them. */
    PyObject *content =
        PyBytes_FromStringAndSize((const char *)fields, (Py_ssize_t)(count * FIELDS * sizeof *fields));
    if (content == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethod(target, "frombytes", "O", content);
    Py_DECREF(content);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

static int
append_events(struct event_reader *reader, PyObject *target)
{
    int64_t *fields = PyMem_Malloc(AT_ONCE * FIELDS * sizeof *fields);
    if (fields == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t count;
    int status = 0;
    do {
        count = read_events(reader, fields, AT_ONCE);
        if (count > 0) {
            status = append(target, fields, count);
        }
        if (status == 0) {
            status = PyErr_CheckSignals(); /* a large file can be interrupted, as in the reference */
        }
    } while (status == 0 && count == AT_ONCE);
    PyMem_Free(fields);
    return status;
}

static PyObject *
decode_events(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer content, threads;
    Py_ssize_t position;
    PyObject *target; /* borrowed */
    long long clock_ns, thread, subject;
    if (!PyArg_ParseTuple(arguments, "y*nOy*LLL:decode_events", &content, &position, &target, &threads, &clock_ns,
                          &thread, &subject)) {
        return NULL;
    }
    PyObject *result = NULL;
    if (position < 0 || position > content.len || thread < 0 || subject < 0) {
        PyErr_SetString(PyExc_ValueError, "a number out of range");
        goto done;
    }
    struct event_reader reader = {
        .content = content.buf,
        .size = (size_t)content.len,
        .position = (size_t)position,
        .threads = threads.buf,
        .thread_count = (size_t)threads.len / sizeof(int64_t),
        .clock_ns = (uint64_t)clock_ns,
        .thread = thread,
        .subject = subject,
    };
    if (append_events(&reader, target) == 0) {
        result = Py_BuildValue("nLLL", (Py_ssize_t)reader.position, (long long)reader.clock_ns,
                               (long long)reader.thread, (long long)reader.subject);
    }
done:
    PyBuffer_Release(&content);
    PyBuffer_Release(&threads);
    return result;
}

static int
execute(PyObject *Py_UNUSED(module))
{
    return require_main_interpreter();
}

static PyMethodDef methods[] = {
    {"decode_events", decode_events, METH_VARARGS,
     "Append the events from a position on to a target; return where they end, and clock, thread and subject there."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "asynctrace.formats._decoder",
    .m_doc = "The native core of reading a .pftrace, in C.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__decoder(void)
{
    return PyModuleDef_Init(&definition);
}

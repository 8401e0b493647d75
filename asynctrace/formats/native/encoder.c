/* The native encoder: the module and its types. Its reference is `asynctrace.formats.perfetto_encoder`. */

#include "encoder.h"
#include "interpreter.h"

/* The file counts its tracks and its arrows, over all parts: a counter is shared by their encoders. */

static PyObject *
counter_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":Counter", names)) {
        return NULL;
    }
    struct counter *counter = (struct counter *)type->tp_alloc(type, 0);
    if (counter != NULL) {
        counter->next = 1;
    }
    return (PyObject *)counter;
}

static PyObject *
counter_next(PyObject *self)
{
    return PyLong_FromUnsignedLongLong(take_number((struct counter *)self));
}

static void
counter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot counter_slots[] = {
    {Py_tp_doc, "Counts 1, 2, 3, ..."},
    {Py_tp_new, counter_new},
    {Py_tp_dealloc, counter_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, counter_next},
    {0, NULL},
};

static PyType_Spec counter_spec = {
    .name = "asynctrace.formats._encoder.Counter",
    .basicsize = sizeof(struct counter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = counter_slots,
};

/* Return a counter that was given, owned; NULL with a TypeError when it is none. */
static struct counter *
checked_counter(PyObject *given)
{
    /* Its type cannot be derived from, so this tells it; there is one in each copy of the module. */
    if (Py_TYPE(given)->tp_iternext != counter_next) {
        PyErr_Format(PyExc_TypeError, "a Counter is needed, not %.100s", Py_TYPE(given)->tp_name);
        return NULL;
    }
    return (struct counter *)Py_NewRef(given);
}

static PyObject *
wire_error(void)
{
    PyObject *module = PyImport_ImportModule("asynctrace.formats.wire");
    PyObject *error = module != NULL ? PyObject_GetAttrString(module, "WireError") : NULL;
    Py_XDECREF(module);
    return error;
}

static PyObject *
encoder_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"write", "sequence", "clock_ns", "new_flow", NULL};
    PyObject *write, *new_flow; /* borrowed */
    long long sequence, clock_ns;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OLLO:Encoder", names, &write, &sequence, &clock_ns, &new_flow)) {
        return NULL;
    }
    if (sequence < 0 || clock_ns < 0) {
        PyErr_SetString(PyExc_ValueError, "neither the sequence nor the clock can be negative");
        return NULL;
    }
    struct encoder *encoder = (struct encoder *)type->tp_alloc(type, 0); /* all that it holds is 0 */
    if (encoder == NULL) {
        return NULL;
    }
    encoder->write = Py_NewRef(write);
    encoder->wire_error = wire_error();
    if (encoder->wire_error == NULL) {
        Py_DECREF(encoder);
        return NULL;
    }
    encoder->clock_ns = clock_ns;
    encoder->sequence[0] = SEQUENCE_TAG;
    encoder->sequence_size = (size_t)(put_varint(encoder->sequence + 1, (uint64_t)sequence) - encoder->sequence);
    encoder->new_flow = checked_counter(new_flow);
    if (encoder->new_flow == NULL) {
        Py_DECREF(encoder);
        return NULL;
    }
    return (PyObject *)encoder;
}

static int
encoder_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct encoder *encoder = (struct encoder *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(encoder->write);
    Py_VISIT(encoder->wire_error);
    Py_VISIT(encoder->names);
    Py_VISIT(encoder->waits);
    Py_VISIT(encoder->task_names);
    Py_VISIT(encoder->tracks);
    Py_VISIT(encoder->visible_text);
    return 0;
}

static int
encoder_clear(PyObject *self)
{
    struct encoder *encoder = (struct encoder *)self;
    Py_CLEAR(encoder->write);
    Py_CLEAR(encoder->wire_error);
    Py_CLEAR(encoder->names);
    Py_CLEAR(encoder->waits);
    Py_CLEAR(encoder->task_names);
    Py_CLEAR(encoder->tracks);
    Py_CLEAR(encoder->visible_text);
    return 0;
}

static void
encoder_dealloc(PyObject *self)
{
    struct encoder *encoder = (struct encoder *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    encoder_clear(self);
    Py_CLEAR(encoder->new_flow);
    Py_CLEAR(encoder->new_uuid);
    for (size_t index = 0; index < encoder->coroutines.capacity; index++) {
        struct coroutine *coroutine = (void *)(uintptr_t)encoder->coroutines.entries[index].value;
        if (coroutine != NULL) {
            coroutine_free(coroutine);
        }
    }
    table_free(&encoder->coroutines);
    for (size_t index = 0; index < encoder->threads.capacity; index++) {
        struct thread *thread = (void *)(uintptr_t)encoder->threads.entries[index].value;
        if (thread != NULL) {
            thread_free(thread);
        }
    }
    table_free(&encoder->threads);
    task_list_free(encoder);
    table_free(&encoder->job_arrows);
    table_free(&encoder->jobs_of_calls);
    table_free(&encoder->jobs);
    forget_all(encoder);
    PyMem_Free(encoder->shown_threads);
    PyMem_Free(encoder->late.items);
    PyMem_Free(encoder->out.bytes);
    PyMem_Free(encoder->once.bytes);
    PyMem_Free(encoder->shown.bytes.bytes);
    PyMem_Free(encoder->shown.ends);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Begin what asks the part's tables, or works with what they said. */
static int
begin_work(struct encoder *encoder)
{
    if (encoder->names == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "connect() has to be called first");
        return -1;
    }
    if (encoder->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "this encoder is at work already");
        return -1;
    }
    encoder->is_busy = true;
    encoder->shown.count = 0;
    encoder->shown.bytes.size = 0;
    encoder->once.size = 0;
    return 0;
}

static PyObject *
end_work(struct encoder *encoder, int result)
{
    encoder->is_busy = false;
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static int
number_of(PyObject *object, const char *attribute, uint64_t *number)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    if (value == NULL) {
        return -1;
    }
    *number = PyLong_AsUnsignedLongLong(value);
    Py_DECREF(value);
    return *number == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *
encoder_connect(PyObject *self, PyObject *args)
{
    struct encoder *encoder = (struct encoder *)self;
    PyObject *names, *waits, *tracks; /* borrowed */
    if (!PyArg_ParseTuple(args, "OOO:connect", &names, &waits, &tracks)) {
        return NULL;
    }
    if (encoder->names != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "connect() can be called once");
        return NULL;
    }
    PyObject *layout = NULL, *visible_text = NULL, *task_names = NULL, *new_uuid = NULL;
    uint64_t task_group, merging, has_row_each;
    if (number_of(tracks, "tasks", &task_group) < 0 || number_of(tracks, "merging", &merging) < 0 ||
        number_of(tracks, "has_row_each", &has_row_each) < 0 ||
        (new_uuid = PyObject_GetAttrString(tracks, "new_uuid")) == NULL ||
        (task_names = PyObject_GetAttrString(names, "task_names")) == NULL ||
        (layout = PyImport_ImportModule("asynctrace.formats.perfetto_layout")) == NULL ||
        (visible_text = PyObject_GetAttrString(layout, "visible_text")) == NULL) {
        goto error;
    }
    if (!PyDict_Check(task_names)) {
        PyErr_SetString(PyExc_TypeError, "the names of tasks have to be in a dict");
        goto error;
    }
    struct counter *counter = checked_counter(new_uuid);
    if (counter == NULL) {
        goto error;
    }
    Py_DECREF(new_uuid);
    Py_DECREF(layout);
    Py_XSETREF(encoder->new_uuid, counter);
    Py_XSETREF(encoder->task_names, task_names);
    Py_XSETREF(encoder->visible_text, visible_text);
    Py_XSETREF(encoder->tracks, Py_NewRef(tracks));
    Py_XSETREF(encoder->waits, Py_NewRef(waits));
    encoder->task_group = task_group;
    encoder->merging = merging;
    encoder->has_row_each = has_row_each != 0;
    encoder->names = Py_NewRef(names);
    Py_RETURN_NONE;

error:
    Py_XDECREF(new_uuid);
    Py_XDECREF(task_names);
    Py_XDECREF(layout);
    Py_XDECREF(visible_text);
    return NULL;
}

static PyObject *
encoder_send(PyObject *self, PyObject *packets)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(packets, &bytes, &size) < 0 ||
        buffer_add(&((struct encoder *)self)->out, bytes, (size_t)size) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
encoder_send_on_sequence(PyObject *self, PyObject *content)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(content, &bytes, &size) < 0 ||
        send_on_sequence((struct encoder *)self, bytes, (size_t)size) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
forget_each(struct encoder *encoder, PyObject *keys)
{
    PyObject *iterator = PyObject_GetIter(keys), *key;
    if (iterator == NULL) {
        return -1;
    }
    while ((key = PyIter_Next(iterator)) != NULL) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
        Py_DECREF(key);
        if (number == -1 && PyErr_Occurred()) {
            break;
        }
        if (!overflow) { /* else it is no event's */
            forget_site(encoder, number);
        }
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *
encoder_forget_sites(PyObject *self, PyObject *keys)
{
    struct encoder *encoder = (struct encoder *)self;
    return begin_work(encoder) < 0 ? NULL : end_work(encoder, forget_each(encoder, keys));
}

static int
encode_events(struct encoder *encoder, PyObject *events, bool is_base)
{
    encoder->is_base = is_base;
    return each_event(events, encoder->wire_error, encode_event, encoder);
}

static PyObject *
encoder_encode(PyObject *self, PyObject *events)
{
    struct encoder *encoder = (struct encoder *)self;
    return begin_work(encoder) < 0 ? NULL : end_work(encoder, encode_events(encoder, events, false));
}

static int
encode_base(struct encoder *encoder, PyObject *events)
{
    if (encode_events(encoder, events, true) < 0) {
        return -1;
    }
    encoder->shown.count = 0;
    encoder->shown.bytes.size = 0;
    encoder->once.size = 0;
    return show_open_again(encoder) < 0 ? -1 : send_shown(encoder, 0);
}

static PyObject *
encoder_encode_base(PyObject *self, PyObject *events)
{
    struct encoder *encoder = (struct encoder *)self;
    return begin_work(encoder) < 0 ? NULL : end_work(encoder, encode_base(encoder, events));
}

static PyObject *
encoder_label_tracks(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    struct encoder *encoder = (struct encoder *)self;
    return begin_work(encoder) < 0 ? NULL : end_work(encoder, label_open_tasks(encoder));
}

static PyObject *
encoder_close_all(PyObject *self, PyObject *number)
{
    struct encoder *encoder = (struct encoder *)self;
    long long time_ns = PyLong_AsLongLong(number);
    if ((time_ns == -1 && PyErr_Occurred()) || begin_work(encoder) < 0) {
        return NULL;
    }
    uint64_t delay_ns = time_ns > encoder->clock_ns ? (uint64_t)(time_ns - encoder->clock_ns) : 0;
    return end_work(encoder, show_close_all(encoder) < 0 ? -1 : send_shown(encoder, delay_ns));
}

static PyObject *
encoder_flush(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    struct encoder *encoder = (struct encoder *)self;
    if (encoder->write == NULL) { /* it is being collected */
        Py_RETURN_NONE;
    }
    return flush(encoder) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef encoder_methods[] = {
    {"connect", encoder_connect, METH_VARARGS, "Say what names, waits and tracks the part has."},
    {"send", encoder_send, METH_O, "Write packets before those of the next event."},
    {"send_on_sequence", encoder_send_on_sequence, METH_O, "Write a packet of the part's sequence."},
    {"forget_sites", encoder_forget_sites, METH_O, "Ask again what these sites are."},
    {"encode", encoder_encode, METH_O, "Write events that follow those before."},
    {"encode_base", encoder_encode_base, METH_O, "Write the events of a base, and open what is open after them."},
    {"label_tracks", encoder_label_tracks, METH_NOARGS, "Name the tracks of the tasks that are still open."},
    {"close_all", encoder_close_all, METH_O, "Close what is open, at a time."},
    {"flush", encoder_flush, METH_NOARGS, "Have all that was sent and encoded written."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot encoder_slots[] = {
    {Py_tp_doc, "Makes packets of the events of one part."},
    {Py_tp_new, encoder_new},
    {Py_tp_traverse, encoder_traverse},
    {Py_tp_clear, encoder_clear},
    {Py_tp_dealloc, encoder_dealloc},
    {Py_tp_methods, encoder_methods},
    {0, NULL},
};

static PyType_Spec encoder_spec = {
    .name = "asynctrace.formats._encoder.Encoder",
    .basicsize = sizeof(struct encoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = encoder_slots,
};

static int
add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int result = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return result;
}

static int
execute(PyObject *module)
{
    if (require_main_interpreter() < 0) {
        return -1;
    }
    return add_type(module, &counter_spec) < 0 ? -1 : add_type(module, &encoder_spec);
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
    .m_name = "asynctrace.formats._encoder",
    .m_doc = "The native encoder of events, in C.",
    .m_size = 0,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__encoder(void)
{
    return PyModuleDef_Init(&definition);
}

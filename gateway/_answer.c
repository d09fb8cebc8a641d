/* The head of an answer as it nearly always is: see `head_of` in answer.py, whose Python says what a head may hold. What is not
   plainly right gets None here, and Python decides. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* Text of one byte a letter, or NULL. */
static const char *
latin(PyObject *text, Py_ssize_t *length)
{
    if (!PyUnicode_CheckExact(text) || PyUnicode_READY(text) < 0 || PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND) {
        PyErr_Clear();
        return NULL;
    }
    *length = PyUnicode_GET_LENGTH(text);
    return (const char *)PyUnicode_1BYTE_DATA(text);
}

/* Whether *text* is lines that end with CRLF and has no NUL. */
static int
is_lines(const char *text, Py_ssize_t length)
{
    for (Py_ssize_t index = 0; index < length; index++)
        if (text[index] == '\0' || (text[index] == '\r' && (index + 1 == length || text[index + 1] != '\n')) ||
            (text[index] == '\n' && (index == 0 || text[index - 1] != '\r')))
            return 0;
    return length == 0 || text[length - 1] == '\n';
}

static char *
put(char *place, const char *text, Py_ssize_t length)
{
    memcpy(place, text, length);
    return place + length;
}

/* head(status line, headers, our lines, names): *names* tells by name whether a header of a service is heard. */
static PyObject *
head(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    Py_ssize_t first_length, ours_length, name_length, value_length;
    if (count != 4 || !PyList_CheckExact(given[1]) || !PyDict_CheckExact(given[3]))
        Py_RETURN_NONE;
    const char *first = latin(given[0], &first_length), *ours = latin(given[2], &ours_length), *name, *value;
    if (first == NULL || ours == NULL || !is_lines(first, first_length) || !is_lines(ours, ours_length))
        Py_RETURN_NONE;
    Py_ssize_t headers = PyList_GET_SIZE(given[1]), total = first_length + ours_length + 2;
    /* SECURITY: A8. Each value is looked into: one that could end its line is Python's to refuse. */
    for (Py_ssize_t index = 0; index < headers; index++) {
        PyObject *pair = PyList_GET_ITEM(given[1], index);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            (name = latin(PyTuple_GET_ITEM(pair, 0), &name_length)) == NULL ||
            (value = latin(PyTuple_GET_ITEM(pair, 1), &value_length)) == NULL || memchr(value, '\n', value_length) ||
            memchr(value, '\r', value_length) || memchr(value, '\0', value_length))
            Py_RETURN_NONE;
        PyObject *heard = PyDict_GetItemWithError(given[3], PyTuple_GET_ITEM(pair, 0));
        if (heard == NULL && PyErr_Occurred())
            return NULL;
        if (heard == Py_True)
            total += name_length + value_length + 4;
        else if (heard != Py_False)
            Py_RETURN_NONE; /* a name that is not known yet */
    }
    PyObject *octets = PyBytes_FromStringAndSize(NULL, total);
    if (octets == NULL)
        return NULL;
    char *place = put(PyBytes_AS_STRING(octets), first, first_length);
    /* Nothing of Python's ran in between but the look-up of texts, so all is as it was. */
    for (Py_ssize_t index = 0; index < headers; index++) {
        PyObject *pair = PyList_GET_ITEM(given[1], index);
        if (PyDict_GetItemWithError(given[3], PyTuple_GET_ITEM(pair, 0)) != Py_True)
            continue;
        name = latin(PyTuple_GET_ITEM(pair, 0), &name_length);
        value = latin(PyTuple_GET_ITEM(pair, 1), &value_length);
        place = put(put(put(place, name, name_length), ": ", 2), value, value_length);
        place = put(place, "\r\n", 2);
    }
    put(put(place, ours, ours_length), "\r\n", 2);
    return octets;
}

static PyMethodDef functions[] = {
    {"head", (PyCFunction)(void (*)(void))head, METH_FASTCALL, "The head of an answer, or None where Python is to look at it."},
    {NULL},
};
static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_answer", "Heads of answers in C: see gateway.answer.", -1, functions,
};

PyMODINIT_FUNC
PyInit__answer(void)
{
    return PyModule_Create(&module_definition);
}

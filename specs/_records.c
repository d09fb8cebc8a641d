/* Records as they nearly always come, for where there is a compiler; see `plans.py` and `records.py`.

   A `Plan` takes a map whose members are of the types that its contract declares, and gives the record of them that
   `reading.py` and `writing.py` would give. Of anything else it gives None, and they go over the same map again: conversions,
   defaults, faults and their words are theirs alone. Nothing here refuses anything.

   An `Attribute` is a member of a record as Python's attribute; what is `Guarded` is given no other attributes. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* What becomes of a value. */
enum { TEXT, TRUTH, WHOLE, NUMBER, RECORD, LIST, CONVERTED };

typedef struct Kind {
    int word;
    int nullable;       /* of an item in a list */
    PyObject *object;   /* RECORD: its Plan; CONVERTED: what converts */
    struct Kind *items; /* LIST */
} Kind;

typedef struct {
    PyObject *name;
    Kind kind;
    int needed, nullable; /* whether the map is to have it, and may have it as null */
} Member;

typedef struct {
    PyObject_VAR_HEAD
    PyObject *make;     /* the class of the record */
    PyTypeObject *maps; /* instances of it and of dict itself are read */
    Member members[];
} Plan;

static PyTypeObject *plan_type;

static PyObject *apply(Plan *plan, PyObject *map, int *odd);

/* The value as the record has it: a new reference. NULL with *odd* where Python is to look at it, NULL without it where an
   exception goes on its way. */
static PyObject *
taken(const Kind *kind, PyObject *given, int *odd)
{
    int overflow;
    PyObject *found;
    switch (kind->word) {
    case TEXT:
        if (PyUnicode_CheckExact(given))
            return Py_NewRef(given);
        break;
    case TRUTH:
        if (PyBool_Check(given))
            return Py_NewRef(given);
        break;
    case WHOLE:
        if (PyLong_CheckExact(given)) {
            if (PyLong_AsLongLongAndOverflow(given, &overflow) == -1 && !overflow && PyErr_Occurred())
                return NULL;
            if (!overflow)
                return Py_NewRef(given);
        }
        break;
    case NUMBER:
        if (PyFloat_CheckExact(given) && Py_IS_FINITE(PyFloat_AS_DOUBLE(given)))
            return Py_NewRef(given);
        break;
    case RECORD:
        return apply((Plan *)kind->object, given, odd);
    case LIST:
        if (!PyList_CheckExact(given))
            break;
        if ((found = PyList_New(0)) == NULL)
            return NULL;
        /* What converts may be anybody's code: the list may be another one after it. */
        for (Py_ssize_t index = 0; index < PyList_GET_SIZE(given); index++) {
            PyObject *item = Py_NewRef(PyList_GET_ITEM(given, index)), *own = NULL;
            if (item == Py_None) {
                if (kind->items->nullable)
                    own = Py_NewRef(item);
                else
                    *odd = 1;
            } else
                own = taken(kind->items, item, odd);
            Py_DECREF(item);
            if (own == NULL || PyList_Append(found, own) < 0) {
                Py_XDECREF(own);
                Py_DECREF(found);
                return NULL;
            }
            Py_DECREF(own);
            /* Whoever reads a long list in a thread lets others compute. */
            if (index % 4096 == 4095) {
                Py_BEGIN_ALLOW_THREADS
                Py_END_ALLOW_THREADS
            }
        }
        return found;
    case CONVERTED:
        if ((found = PyObject_CallOneArg(kind->object, given)) != NULL || !PyErr_ExceptionMatches(PyExc_Exception))
            return found;
        PyErr_Clear(); /* Python comes to the same end, and says why */
        break;
    }
    *odd = 1;
    return NULL;
}

static PyObject *
apply(Plan *plan, PyObject *map, int *odd)
{
    if (!PyDict_CheckExact(map) && !PyType_IsSubtype(Py_TYPE(map), plan->maps)) {
        *odd = 1;
        return NULL;
    }
    PyObject *record = plan->make == (PyObject *)&PyDict_Type ? PyDict_New() : PyObject_CallNoArgs(plan->make);
    if (record == NULL)
        return NULL;
    for (Py_ssize_t index = 0; index < Py_SIZE(plan); index++) {
        const Member *member = &plan->members[index];
        PyObject *given = PyDict_GetItemWithError(map, member->name), *own;
        if (given == NULL) {
            if (PyErr_Occurred())
                goto failed;
            if (!member->needed)
                continue;
            *odd = 1;
            goto failed;
        }
        Py_INCREF(given);
        if (given == Py_None) {
            own = member->nullable ? Py_NewRef(given) : NULL;
            *odd = own == NULL;
        } else
            own = taken(&member->kind, given, odd);
        Py_DECREF(given);
        if (own == NULL)
            goto failed;
        int done = PyDict_SetItem(record, member->name, own);
        Py_DECREF(own);
        if (done < 0)
            goto failed;
    }
    return record;
failed:
    Py_DECREF(record);
    return NULL;
}

static PyObject *
plan_call(Plan *plan, PyObject *map)
{
    int odd = 0;
    PyObject *record = apply(plan, map, &odd);
    if (record == NULL && odd)
        Py_RETURN_NONE;
    return record;
}

/* Plans are made of what plans.py describes: (name, kind, needed, nullable) for each member, where a kind is a word, a Plan,
   a function, or (kind, nullable) for a list of such items. */

static void
forget_kind(Kind *kind)
{
    Py_CLEAR(kind->object);
    if (kind->items != NULL) {
        forget_kind(kind->items);
        PyMem_Free(kind->items);
        kind->items = NULL;
    }
}

static int
read_kind(PyObject *given, Kind *kind)
{
    static const char *const words[] = {"text", "bool", "int", "float"};
    PyObject *items;
    if (PyUnicode_Check(given)) {
        for (int word = TEXT; word <= NUMBER; word++)
            if (PyUnicode_CompareWithASCIIString(given, words[word]) == 0) {
                kind->word = word;
                return 1;
            }
    } else if (PyTuple_Check(given)) {
        kind->word = LIST;
        if ((kind->items = PyMem_Calloc(1, sizeof *kind->items)) == NULL) {
            PyErr_NoMemory();
            return 0;
        }
        return PyArg_ParseTuple(given, "Op", &items, &kind->items->nullable) && read_kind(items, kind->items);
    } else if (Py_IS_TYPE(given, plan_type) || PyCallable_Check(given)) {
        kind->word = Py_IS_TYPE(given, plan_type) ? RECORD : CONVERTED;
        kind->object = Py_NewRef(given);
        return 1;
    }
    PyErr_SetString(PyExc_TypeError, "a kind is a word, a plan, a function, or (kind, nullable)");
    return 0;
}

static PyObject *
plan_new(PyTypeObject *type, PyObject *given, PyObject *names)
{
    PyObject *make, *maps, *members, *kind;
    if (!PyArg_ParseTuple(given, "O!O!O!", &PyType_Type, &make, &PyType_Type, &maps, &PyTuple_Type, &members))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)make, &PyDict_Type) || !PyType_IsSubtype((PyTypeObject *)maps, &PyDict_Type)) {
        PyErr_SetString(PyExc_TypeError, "a plan reads and makes dictionaries");
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, PyTuple_GET_SIZE(members));
    if (plan == NULL)
        return NULL;
    plan->make = Py_NewRef(make);
    plan->maps = (PyTypeObject *)Py_NewRef(maps);
    for (Py_ssize_t index = 0; index < Py_SIZE(plan); index++) {
        Member *member = &plan->members[index];
        if (!PyArg_Parse(PyTuple_GET_ITEM(members, index), "(UOpp)", &member->name, &kind, &member->needed,
                         &member->nullable)) {
            member->name = NULL;
            Py_DECREF(plan);
            return NULL;
        }
        Py_INCREF(member->name);
        PyUnicode_InternInPlace(&member->name);
        if (!read_kind(kind, &member->kind)) {
            Py_DECREF(plan);
            return NULL;
        }
    }
    return (PyObject *)plan;
}

static int
visit_kind(const Kind *kind, visitproc visit, void *arg)
{
    Py_VISIT(kind->object);
    return kind->items != NULL ? visit_kind(kind->items, visit, arg) : 0;
}

static int
plan_traverse(Plan *plan, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(plan));
    Py_VISIT(plan->make);
    Py_VISIT(plan->maps);
    for (Py_ssize_t index = 0; index < Py_SIZE(plan); index++) {
        int found = visit_kind(&plan->members[index].kind, visit, arg);
        if (found)
            return found;
    }
    return 0;
}

/* WHY: there is no tp_clear. A plan never changes, so a cycle that it is in goes through something that can be cleared. */

static void
plan_free(Plan *plan)
{
    PyTypeObject *type = Py_TYPE(plan);
    PyObject_GC_UnTrack(plan);
    Py_XDECREF(plan->make);
    Py_XDECREF(plan->maps);
    for (Py_ssize_t index = 0; index < Py_SIZE(plan); index++) {
        Py_XDECREF(plan->members[index].name);
        forget_kind(&plan->members[index].kind);
    }
    type->tp_free(plan);
    Py_DECREF(type);
}

static PyMethodDef plan_methods[] = {
    {"apply", (PyCFunction)plan_call, METH_O, "The record of a map, or None where Python is to look at it."},
    {NULL},
};
static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "How the members of a map become a record, where each came as what it is."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_free},
    {Py_tp_traverse, plan_traverse},
    {Py_tp_methods, plan_methods},
    {0, NULL},
};
static PyType_Spec plan_spec = {
    "specs._records.Plan", sizeof(Plan), sizeof(Member),
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, plan_slots,
};

/* A member of a record as an attribute: `record.name` is the dictionary's "name", or None where it has none. */

typedef struct {
    PyObject_HEAD
    PyObject *name;
} Attribute;

static PyTypeObject *attribute_type;

static PyObject *
attribute_get(Attribute *attribute, PyObject *record, PyObject *type)
{
    if (record == NULL || record == Py_None)
        return Py_NewRef((PyObject *)attribute);
    if (!PyDict_Check(record)) {
        PyErr_SetString(PyExc_TypeError, "only dictionaries have members");
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(record, attribute->name);
    if (value == NULL && PyErr_Occurred())
        return NULL;
    return Py_NewRef(value != NULL ? value : Py_None);
}

static int
attribute_set(Attribute *attribute, PyObject *record, PyObject *value)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "write `del record[%R]`", attribute->name);
        return -1;
    }
    if (!PyDict_Check(record)) {
        PyErr_SetString(PyExc_TypeError, "only dictionaries have members");
        return -1;
    }
    return PyDict_SetItem(record, attribute->name, value);
}

static PyObject *
attribute_new(PyTypeObject *type, PyObject *given, PyObject *names)
{
    PyObject *name;
    if (!PyArg_ParseTuple(given, "U", &name))
        return NULL;
    Attribute *attribute = (Attribute *)type->tp_alloc(type, 0);
    if (attribute != NULL) {
        attribute->name = Py_NewRef(name);
        PyUnicode_InternInPlace(&attribute->name);
    }
    return (PyObject *)attribute;
}

static void
attribute_free(Attribute *attribute)
{
    PyTypeObject *type = Py_TYPE(attribute);
    Py_XDECREF(attribute->name);
    type->tp_free(attribute);
    Py_DECREF(type);
}

static PyType_Slot attribute_slots[] = {
    {Py_tp_doc, "A member of a dictionary as an attribute; None where it is absent."},
    {Py_tp_new, attribute_new},
    {Py_tp_dealloc, attribute_free},
    {Py_tp_descr_get, attribute_get},
    {Py_tp_descr_set, attribute_set},
    {0, NULL},
};
static PyType_Spec attribute_spec = {
    "specs._records.Attribute", sizeof(Attribute), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, attribute_slots,
};

/* A class beside a record's, so that what is assigned to no member goes to its `_assign`, which refuses it. */

static int
guarded_set(PyObject *record, PyObject *name, PyObject *value)
{
    PyObject *found = _PyType_Lookup(Py_TYPE(record), name);
    if (found != NULL && Py_IS_TYPE(found, attribute_type))
        return attribute_set((Attribute *)found, record, value);
    if (value == NULL)
        return PyObject_GenericSetAttr(record, name, value);
    PyObject *nothing = PyObject_CallMethod(record, "_assign", "OO", name, value);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

static PyType_Slot guarded_slots[] = {
    {Py_tp_doc, "Members are assigned at once, anything else by `_assign`."},
    {Py_tp_setattro, guarded_set},
    {0, NULL},
};
static PyType_Spec guarded_spec = {
    "specs._records.Guarded", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE, guarded_slots,
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_records", "Records in C: see specs.plans and specs.records.", -1,
};

PyMODINIT_FUNC
PyInit__records(void)
{
    PyObject *module = PyModule_Create(&module_definition), *guarded = NULL;
    if (module == NULL || (plan_type = (PyTypeObject *)PyType_FromSpec(&plan_spec)) == NULL ||
        (attribute_type = (PyTypeObject *)PyType_FromSpec(&attribute_spec)) == NULL ||
        (guarded = PyType_FromSpec(&guarded_spec)) == NULL || PyModule_AddType(module, plan_type) < 0 ||
        PyModule_AddType(module, attribute_type) < 0 || PyModule_AddType(module, (PyTypeObject *)guarded) < 0)
        return NULL;
    return module;
}

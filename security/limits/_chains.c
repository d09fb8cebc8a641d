/* The debit of a chain of buckets as it nearly always is: `chains.py` in C, for where there is a compiler.

   Nothing here decides anything. `Chain.debit` does what `PythonChain.debit` does, on the same bytes of the same file, under the
   same lock and with the same journal (`table.py`), or else gives None and has changed nothing. It runs with the interpreter's
   lock held, never waits, and calls nothing of Python's while it holds the table's.

   A `Table` has a view of the mapped file until it is closed (which `table.Table` does before it unmaps, and in the child of a
   fork); its chains ask it for the memory with every debit, and find none after that. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the table's numbers are little-endian"
#endif

/* The layout, which `chains.py` compares with that of `table.py`. */
#define MAGIC "GWLIMIT3"
enum { SLOT_BYTES = 32, GROUP = 16, HEADER_BYTES = 16384, MUTEX = 128, ARMED = 256, JOURNAL = 1024, MAX_CHAIN = 256 };
enum { GROUP_BYTES = GROUP * SLOT_BYTES, DIGEST = 16, UNTIL = 2, INTERVAL = 3 /* words of a slot */ };

#define LARGEST ((int64_t)1 << 61) /* sums of two such numbers fit */
#define SECOND 1000000000

/* What a kill leaves is what was written before it: the compiler must not move a write to the other side of this. */
#define IN_ORDER() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* As it stands in the journal: 40 bytes. */
typedef struct {
    uint64_t slot; /* offset in the file; 0: not known */
    unsigned char digest[DIGEST];
    int64_t until, interval;
} Write;

typedef struct {
    uint64_t count;
    Write writes[MAX_CHAIN];
} Record;

typedef struct {
    Write write;            /* but for `until` */
    uint64_t first, second; /* offsets of the two groups where it may be */
    int64_t capacity, cost;
    int shown;
} Bucket;

typedef struct {
    PyObject_HEAD
    Py_buffer view; /* buf is NULL when closed */
} Table;

typedef struct {
    PyObject_VAR_HEAD
    Table *table;
    Py_ssize_t shown;
    Bucket buckets[];
} Chain;

static PyTypeObject *table_type, *chain_type;
static PyObject *mmap_type;

/* The checksum of zlib.crc32, eight bytes at a time (M. E. Kounavis and F. L. Berry, 2005). */

static uint32_t remainders[8][256];

static void
make_remainders(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xEDB88320u : value >> 1;
        remainders[0][byte] = value;
    }
    for (int further = 1; further < 8; further++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = remainders[further - 1][byte];
            remainders[further][byte] = before >> 8 ^ remainders[0][before & 255];
        }
}

static uint32_t
checksum(const void *octets, size_t length) /* a multiple of 8 */
{
    const unsigned char *next = octets, *end = next + length;
    uint32_t sum = ~(uint32_t)0;
    for (; next < end; next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        word ^= sum;
        sum = 0;
        for (int byte = 0; byte < 8; byte++)
            sum ^= remainders[7 - byte][word >> 8 * byte & 255];
    }
    return ~sum;
}

/* The debit. */

static int
find(Bucket *bucket, const unsigned char *memory)
{
    Write *write = &bucket->write;
    if (write->slot && !memcmp(memory + write->slot, write->digest, DIGEST))
        return 1;
    for (uint64_t group = bucket->first;; group = bucket->second) {
        for (uint64_t slot = group; slot < group + GROUP_BYTES; slot += SLOT_BYTES)
            if (!memcmp(memory + slot, write->digest, DIGEST)) {
                write->slot = slot;
                return 1;
            }
        if (group == bucket->second)
            return 0;
    }
}

/* Under the lock. Fills *record*; 0: nothing was changed. */
static int
take(Chain *chain, unsigned char *memory, int64_t now, Record *record)
{
    volatile int64_t *armed = (int64_t *)(memory + ARMED);
    if (*armed)
        return 0;
    Py_ssize_t count = record->count = Py_SIZE(chain);
    for (Py_ssize_t index = 0; index < count; index++) {
        Bucket *bucket = &chain->buckets[index];
        if (!find(bucket, memory))
            return 0;
        const int64_t *slot = (int64_t *)(memory + bucket->write.slot);
        if (slot[INTERVAL] != bucket->write.interval)
            return 0;
        int64_t owed = slot[UNTIL] > now ? slot[UNTIL] - now : 0;
        if (owed > bucket->capacity - bucket->cost)
            return 0;
        record->writes[index] = bucket->write;
        record->writes[index].until = now + owed + bucket->cost;
    }
    if (count > 1) {
        size_t length = sizeof record->count + count * sizeof(Write);
        memcpy(memory + JOURNAL, record, length);
        IN_ORDER();
        *armed = (int64_t)checksum(record, length) + 1;
        IN_ORDER();
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        volatile int64_t *slot = (int64_t *)(memory + record->writes[index].slot);
        slot[UNTIL] = record->writes[index].until;
    }
    if (count > 1) {
        IN_ORDER();
        *armed = 0;
    }
    return 1;
}

/* Hits left and seconds until there are more, of each bucket that is shown. */
static PyObject *
left(const Chain *chain, int64_t now, const Record *record)
{
    PyObject *found = PyTuple_New(2 * chain->shown);
    Py_ssize_t next = 0;
    for (Py_ssize_t index = 0; found != NULL && index < Py_SIZE(chain); index++) {
        const Bucket *bucket = &chain->buckets[index];
        int64_t wait = record->writes[index].until - now; /* what is owed */
        int64_t remaining = (bucket->capacity - wait) / bucket->write.interval;
        if (remaining == 0)
            wait -= bucket->capacity - bucket->write.interval;
        for (int number = 0; bucket->shown && number < 2; number++) {
            PyObject *made = PyLong_FromLongLong(number ? (wait + SECOND - 1) / SECOND : remaining);
            if (made == NULL) {
                Py_DECREF(found);
                return NULL;
            }
            PyTuple_SET_ITEM(found, next++, made);
        }
    }
    return found;
}

static PyObject *
chain_debit(Chain *chain, PyObject *argument)
{
    int64_t now = PyLong_AsLongLong(argument); /* may run code of the caller's, so it comes before everything else */
    if (now == -1 && PyErr_Occurred())
        return NULL;
    unsigned char *memory = chain->table->view.buf;
    if (memory == NULL || now < 0 || now > LARGEST)
        Py_RETURN_NONE;
    pthread_mutex_t *mutex = (pthread_mutex_t *)(memory + MUTEX);
    int done = pthread_mutex_trylock(mutex);
    if (done && done != EOWNERDEAD)
        Py_RETURN_NONE;
    if (done) /* what its last holder left is finished by whoever takes it next */
        pthread_mutex_consistent(mutex);
    Record record;
    int taken = !done && take(chain, memory, now, &record);
    pthread_mutex_unlock(mutex);
    if (!taken)
        Py_RETURN_NONE;
    return left(chain, now, &record);
}

static void
chain_free(Chain *chain)
{
    PyTypeObject *type = Py_TYPE(chain);
    Py_XDECREF(chain->table);
    type->tp_free(chain);
    Py_DECREF(type);
}

/* Chains are made of (digest, first group, second group, interval, capacity, cost, shown). */

static int
is_group(const Table *table, long long offset)
{
    return offset >= HEADER_BYTES && offset <= table->view.len - GROUP_BYTES && (offset - HEADER_BYTES) % GROUP_BYTES == 0;
}

static int
read_bucket(const Table *table, PyObject *given, Bucket *bucket)
{
    const char *digest;
    Py_ssize_t length;
    long long first, second, interval, capacity, cost;
    int shown;
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a bucket is a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(given, "y#LLLLLp", &digest, &length, &first, &second, &interval, &capacity, &cost, &shown))
        return 0;
    if (length != DIGEST || !is_group(table, first) || !is_group(table, second) || interval < 1 || cost < 1 ||
        cost > capacity || capacity > LARGEST) {
        PyErr_SetString(PyExc_ValueError, "this cannot be a bucket of the table");
        return 0;
    }
    *bucket = (Bucket){{.interval = interval}, first, second, capacity, cost, shown};
    memcpy(bucket->write.digest, digest, DIGEST);
    return 1;
}

static PyObject *
table_chain(Table *table, PyObject *given)
{
    PyObject *buckets = PySequence_Tuple(given);
    if (buckets == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(buckets);
    Chain *chain = NULL;
    if (count < 1 || count > MAX_CHAIN)
        PyErr_Format(PyExc_ValueError, "a chain has 1 to %d buckets", MAX_CHAIN);
    else if ((chain = (Chain *)chain_type->tp_alloc(chain_type, count)) != NULL)
        chain->table = (Table *)Py_NewRef((PyObject *)table);
    for (Py_ssize_t index = 0; chain != NULL && index < count; index++) {
        Bucket *bucket = &chain->buckets[index];
        int good = read_bucket(table, PyTuple_GET_ITEM(buckets, index), bucket);
        for (Py_ssize_t other = 0; good && other < index; other++)
            if (!memcmp(chain->buckets[other].write.digest, bucket->write.digest, DIGEST)) {
                PyErr_SetString(PyExc_ValueError, "a chain holds a bucket once");
                good = 0;
            }
        chain->shown += bucket->shown;
        if (!good)
            Py_CLEAR(chain);
    }
    Py_DECREF(buckets);
    return (PyObject *)chain;
}

/* Tables are made of a mapped file, and of nothing else. */

static PyObject *
table_new(PyTypeObject *type, PyObject *given, PyObject *names)
{
    PyObject *memory;
    if (!PyArg_ParseTuple(given, "O!", (PyTypeObject *)mmap_type, &memory))
        return NULL;
    Table *table = (Table *)type->tp_alloc(type, 0);
    if (table == NULL || PyObject_GetBuffer(memory, &table->view, PyBUF_WRITABLE) < 0)
        goto failed;
    uint64_t slots = 0;
    if (table->view.len > HEADER_BYTES)
        memcpy(&slots, (char *)table->view.buf + sizeof MAGIC - 1, sizeof slots);
    if (slots < GROUP || slots % GROUP || slots != (uint64_t)(table->view.len - HEADER_BYTES) / SLOT_BYTES ||
        memcmp(table->view.buf, MAGIC, sizeof MAGIC - 1)) {
        PyErr_SetString(PyExc_ValueError, "this is not a limit table");
        goto failed;
    }
    return (PyObject *)table;
failed:
    Py_XDECREF(table);
    return NULL;
}

static PyObject *
table_close(Table *table, PyObject *nothing)
{
    PyBuffer_Release(&table->view); /* more than once is no harm */
    table->view.buf = NULL;
    Py_RETURN_NONE;
}

static void
table_free(Table *table)
{
    PyTypeObject *type = Py_TYPE(table);
    PyBuffer_Release(&table->view);
    type->tp_free(table);
    Py_DECREF(type);
}

static PyMethodDef chain_methods[] = {
    {"debit", (PyCFunction)chain_debit, METH_O, "Take from each bucket; see security.limits.Chain."},
    {NULL},
};
static PyType_Slot chain_slots[] = {
    {Py_tp_doc, "Buckets made ready to be debited together."},
    {Py_tp_dealloc, chain_free},
    {Py_tp_methods, chain_methods},
    {0, NULL},
};
static PyType_Spec chain_spec = {
    "security.limits._chains.Chain", sizeof(Chain), sizeof(Bucket),
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, chain_slots,
};

static PyMethodDef table_methods[] = {
    {"chain", (PyCFunction)table_chain, METH_O, "A chain of these buckets. Raises ValueError, TypeError, OverflowError."},
    {"close", (PyCFunction)table_close, METH_NOARGS, "Touch the memory no more; chains give None."},
    {NULL},
};
static PyType_Slot table_slots[] = {
    {Py_tp_doc, "The mapped file, until it is closed. Raises ValueError for what is not one."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_free},
    {Py_tp_methods, table_methods},
    {0, NULL},
};
static PyType_Spec table_spec = {
    "security.limits._chains.Table", sizeof(Table), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, table_slots,
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_chains", "The debit of chains in C: see security.limits.chains.", -1,
};

PyMODINIT_FUNC
PyInit__chains(void)
{
    make_remainders();
    PyObject *module = PyModule_Create(&module_definition), *mmap = PyImport_ImportModule("mmap");
    if (module == NULL || mmap == NULL || (mmap_type = PyObject_GetAttrString(mmap, "mmap")) == NULL ||
        (chain_type = (PyTypeObject *)PyType_FromSpec(&chain_spec)) == NULL ||
        (table_type = (PyTypeObject *)PyType_FromSpec(&table_spec)) == NULL)
        return NULL;
    Py_DECREF(mmap);
    PyObject *layout = Py_BuildValue("yiiiiiii", MAGIC, SLOT_BYTES, GROUP, HEADER_BYTES, MUTEX, ARMED, JOURNAL, MAX_CHAIN);
    if (layout == NULL || PyModule_AddObject(module, "LAYOUT", layout) < 0 || PyModule_AddType(module, table_type) < 0 ||
        PyModule_AddType(module, chain_type) < 0)
        return NULL;
    return module;
}

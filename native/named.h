/* Makes instances of named tuples without a call of their class, which costs more than a decision does. */
#ifndef WAYPOST_NAMED_H
#define WAYPOST_NAMED_H

#include <Python.h>
#include <stdint.h>

/* An instance of `cls`, a subclass of tuple without attributes of its own, with `size` items yet to be set. */
static inline PyObject *named_new(PyObject *cls, Py_ssize_t size) {
    return ((PyTypeObject *)cls)->tp_alloc((PyTypeObject *)cls, size);
}

/* Sets item `index`, and takes the reference to `item` over; -1 if there is no item. */
static inline int named_set(PyObject *named, Py_ssize_t index, PyObject *item) {
    if (item == NULL)
        return -1;
    PyTuple_SET_ITEM(named, index, item);
    return 0;
}

/* `native.limits.Decision`; borrows `retry_after_us`. */
static inline PyObject *make_decision(
    PyObject *cls, int allowed, int64_t remaining, int64_t reset_after_us, PyObject *retry_after_us
) {
    PyObject *decision = named_new(cls, 4);
    if (decision == NULL)
        return NULL;
    if (named_set(decision, 0, PyBool_FromLong(allowed)) < 0 ||
        named_set(decision, 1, PyLong_FromLongLong(remaining)) < 0 ||
        named_set(decision, 2, PyLong_FromLongLong(reset_after_us)) < 0) {
        Py_DECREF(decision);
        return NULL;
    }
    Py_INCREF(retry_after_us);
    PyTuple_SET_ITEM(decision, 3, retry_after_us);
    return decision;
}

/* `native.request.Verdict`; borrows `decisions`. */
static inline PyObject *make_verdict(PyObject *cls, int admitted, PyObject *decisions) {
    PyObject *verdict = named_new(cls, 2);
    if (verdict == NULL)
        return NULL;
    PyTuple_SET_ITEM(verdict, 0, PyBool_FromLong(admitted));
    Py_INCREF(decisions);
    PyTuple_SET_ITEM(verdict, 1, decisions);
    return verdict;
}

#endif

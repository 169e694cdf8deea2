
/*
 * Copyright (C) nginx-cycles authors
 *
 * Lists of tenants, budgets and API keys, page by page.
 */


#ifndef _CYCLES_LEDGER_PAGE_H_INCLUDED_
#define _CYCLES_LEDGER_PAGE_H_INCLUDED_


#include "cycles_ledger_admin.h"


/* a fraction of 1, of a utilization */
#define CYCLES_PAGE_ONE      1000000000

/* of a cursor as text */
#define CYCLES_PAGE_CURSOR    2304


/* not each kind has each of them */

typedef enum {
    CYCLES_SORT_NONE = 0,                 /* as they were made */
    CYCLES_SORT_TENANT_ID,
    CYCLES_SORT_KEY_ID,
    CYCLES_SORT_NAME,
    CYCLES_SORT_STATUS,
    CYCLES_SORT_CREATED,
    CYCLES_SORT_EXPIRES,
    CYCLES_SORT_SCOPE,
    CYCLES_SORT_UNIT,
    CYCLES_SORT_POLICY,
    CYCLES_SORT_UTILIZATION,
    CYCLES_SORT_DEBT
} cycles_sort_t;


/* all filters must match; an empty string, or -1: any */

typedef struct {
    cycles_definitions_t   kind;
    cycles_str_t           tenant_id;     /* of a budget or key */
    cycles_str_t           parent_id;     /* of a tenant */
    cycles_str_t           scope_prefix;  /* of a budget, in lower case */
    cycles_str_t           scope_filter;  /* of the key that asks */
    cycles_str_t           search;        /* a part of id or name, any case */
    int                    unit;
    int                    status;        /* as the kind has it; of a key
                                             2: expired */
    int                    over_limit;
    int                    has_debt;
    int64_t                utilization_min;    /* of CYCLES_PAGE_ONE */
    int64_t                utilization_max;

    cycles_sort_t          sort;
    unsigned               descending;
    unsigned               limit;
    cycles_str_t           cursor;        /* of an earlier page, or empty */
} cycles_page_query_t;


typedef struct {
    union {
        cycles_tenant_def_t    tenant;
        cycles_budget_view_t   budget;
        cycles_key_view_t      key;
    } u;

    uint32_t               number;
    cycles_str_t           text;          /* what it is sorted by, or */
    int64_t                value;
    int64_t                of;            /* value / of */
} cycles_page_item_t;


typedef struct {
    cycles_page_item_t   **items;
    unsigned               n;
    unsigned               more;
    char                   cursor[CYCLES_PAGE_CURSOR];  /* of the next page */
    size_t                 cursor_len;
} cycles_page_t;


void cycles_page_query_init(cycles_page_query_t *query,
    cycles_definitions_t kind);

/*
 * Looks at all definitions of the kind, in many short critical sections, so
 * it belongs into a thread.  CYCLES_OK: to be freed.  CYCLES_INVALID_REQUEST:
 * the cursor is not one of the same list.
 */

cycles_code_t cycles_ledger_page(cycles_ledger_t *ledger,
    const cycles_page_query_t *query, cycles_page_t *list, int64_t now);
void cycles_page_free(cycles_page_t *list);


#endif /* _CYCLES_LEDGER_PAGE_H_INCLUDED_ */

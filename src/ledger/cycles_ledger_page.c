
/*
 * Copyright (C) nginx-cycles authors
 *
 * Lists.  One walk over all definitions keeps the first ones behind the
 * cursor: a page costs the same whatever it is sorted by.
 */


#include <stdlib.h>
#include <string.h>

#include "cycles_ledger_page.h"
#include "cycles_ledger_core.h"


/* looked at in one critical section */
#define CYCLES_PAGE_BATCH      256

/* "L", sort, direction, filters, number, then what it is sorted by */
#define CYCLES_CURSOR_HEAD     11
#define CYCLES_CURSOR_MAX      (CYCLES_CURSOR_HEAD + 16 + CYCLES_MAX_NAME)


typedef struct {
    const cycles_page_query_t  *query;
    cycles_page_t              *list;
    cycles_page_item_t         *after;    /* NULL: from the beginning */
    cycles_page_item_t          position;
    unsigned char               cursor[CYCLES_CURSOR_MAX];
    int64_t                     now;
    uint32_t                    number;   /* of what is shown */
    unsigned                    failed;
} cycles_listing_t;


static void cycles_page_tenant(void *data, const cycles_tenant_def_t *t);
static void cycles_page_budget(void *data, const cycles_budget_view_t *b);
static void cycles_page_key(void *data, const cycles_key_view_t *k);
static int cycles_key_status(const cycles_key_def_t *key, int64_t now);
static void cycles_page_add(cycles_listing_t *l,
    const cycles_page_item_t *item);
static int cycles_page_cmp(const cycles_page_query_t *query,
    const cycles_page_item_t *a, const cycles_page_item_t *b);
static cycles_page_item_t *cycles_item_copy(cycles_definitions_t kind,
    const cycles_page_item_t *item);
static unsigned cycles_item_strings(cycles_definitions_t kind,
    cycles_page_item_t *item, cycles_str_t **strings);
static int cycles_found(cycles_str_t text, cycles_str_t search);
static int cycles_equal(cycles_str_t a, cycles_str_t b);
static cycles_str_t cycles_named(const char *name);
static uint32_t cycles_filters_hash(const cycles_page_query_t *query);
static void cycles_cursor_write(const cycles_page_query_t *query,
    cycles_page_t *list);
static int cycles_cursor_read(cycles_listing_t *l);


static const char *const  cycles_page_tenant_statuses[] = {
    "ACTIVE", "SUSPENDED", "CLOSED"
};


static const char *const  cycles_page_budget_statuses[] = {
    "ACTIVE", "FROZEN", "CLOSED"
};


static const char *const  cycles_page_key_statuses[] = {
    "ACTIVE", "REVOKED", "EXPIRED"
};


void
cycles_page_query_init(cycles_page_query_t *query, cycles_definitions_t kind)
{
    memset(query, 0, sizeof(cycles_page_query_t));

    query->kind = kind;
    query->unit = -1;
    query->status = -1;
    query->over_limit = -1;
    query->has_debt = -1;
    query->utilization_min = -1;
    query->utilization_max = -1;
}


cycles_code_t
cycles_ledger_page(cycles_ledger_t *ledger, const cycles_page_query_t *query,
    cycles_page_t *list, int64_t now)
{
    uint32_t           n;
    cycles_show_t      show;
    cycles_listing_t   l;

    memset(list, 0, sizeof(cycles_page_t));
    memset(&l, 0, offsetof(cycles_listing_t, cursor));

    l.query = query;
    l.list = list;
    l.now = now;
    l.number = 0;
    l.failed = 0;

    if (query->cursor.len && cycles_cursor_read(&l) != 0) {
        return CYCLES_INVALID_REQUEST;
    }

    /* one more tells that there is another page */

    list->items = calloc(query->limit + 1, sizeof(cycles_page_item_t *));

    if (list->items == NULL) {
        return CYCLES_INTERNAL_ERROR;
    }

    show.tenant = cycles_page_tenant;
    show.budget = cycles_page_budget;
    show.key = cycles_page_key;
    show.data = &l;

    n = (query->sort == CYCLES_SORT_NONE) ? l.position.number : 0;

    do {
        l.number = n;
        cycles_ledger_definitions(ledger, query->kind, &n, CYCLES_PAGE_BATCH,
                                  &show, now);

    } while (n && !l.failed
             && !(query->sort == CYCLES_SORT_NONE && list->n > query->limit));

    if (l.failed) {
        cycles_page_free(list);
        return CYCLES_INTERNAL_ERROR;
    }

    if (list->n > query->limit) {
        free(list->items[--list->n]);
        list->more = 1;
        cycles_cursor_write(query, list);
    }

    return CYCLES_OK;
}


void
cycles_page_free(cycles_page_t *list)
{
    unsigned  i;

    for (i = 0; i < list->n; i++) {
        free(list->items[i]);
    }

    free(list->items);

    list->items = NULL;
    list->n = 0;
}


static void
cycles_page_tenant(void *data, const cycles_tenant_def_t *t)
{
    cycles_listing_t *l = data;

    cycles_page_item_t          item;
    const cycles_page_query_t  *q;

    q = l->query;
    l->number++;

    if ((q->status != -1 && (unsigned) q->status != t->status)
        || (q->parent_id.len && !cycles_equal(t->parent_id, q->parent_id))
        || !(cycles_found(t->tenant_id, q->search)
             || cycles_found(t->name, q->search)))
    {
        return;
    }

    memset(&item, 0, sizeof(cycles_page_item_t));
    item.u.tenant = *t;

    switch (q->sort) {

    case CYCLES_SORT_TENANT_ID:
        item.text = t->tenant_id;
        break;

    case CYCLES_SORT_NAME:
        item.text = t->name;
        break;

    case CYCLES_SORT_STATUS:
        item.text = cycles_named(cycles_page_tenant_statuses[t->status]);
        break;

    case CYCLES_SORT_CREATED:
        item.value = t->created_ms;
        break;

    default:
        break;
    }

    cycles_page_add(l, &item);
}


static void
cycles_page_budget(void *data, const cycles_budget_view_t *b)
{
    cycles_listing_t *l = data;

    cycles_str_t                scope;
    cycles_page_item_t          item;
    const cycles_page_query_t  *q;

    q = l->query;
    l->number++;
    scope = b->def.scope;

    if ((q->tenant_id.len && !cycles_equal(b->tenant_id, q->tenant_id))
        || scope.len < q->scope_prefix.len
        || (q->scope_prefix.len
            && memcmp(scope.data, q->scope_prefix.data, q->scope_prefix.len)
               != 0)
        || !cycles_filter_path(q->scope_filter.data, q->scope_filter.len,
                               scope.data, scope.len)
        || (q->unit != -1 && q->unit != (int) b->def.unit)
        || (q->status != -1 && (unsigned) q->status != b->def.status)
        || (q->over_limit != -1 && q->over_limit != (int) b->over_limit)
        || (q->has_debt != -1 && q->has_debt != (b->debt > 0))
        || !(cycles_found(b->tenant_id, q->search)
             || cycles_found(scope, q->search)))
    {
        return;
    }

    memset(&item, 0, sizeof(cycles_page_item_t));
    item.u.budget = *b;
    item.value = b->def.allocated ? b->spent : 0;
    item.of = b->def.allocated ? b->def.allocated : 1;

    if ((q->utilization_min != -1
         && (__int128) item.value * CYCLES_PAGE_ONE
            < (__int128) q->utilization_min * item.of)
        || (q->utilization_max != -1
            && (__int128) item.value * CYCLES_PAGE_ONE
               > (__int128) q->utilization_max * item.of))
    {
        return;
    }

    switch (q->sort) {

    case CYCLES_SORT_TENANT_ID:
        item.text = b->tenant_id;
        break;

    case CYCLES_SORT_SCOPE:
        item.text = scope;
        break;

    case CYCLES_SORT_UNIT:
        item.text = cycles_named(cycles_unit_name(b->def.unit));
        break;

    case CYCLES_SORT_STATUS:
        item.text = cycles_named(cycles_page_budget_statuses[b->def.status]);
        break;

    case CYCLES_SORT_POLICY:
        if (b->def.policy != CYCLES_POLICY_NONE) {
            item.text = cycles_named(cycles_policy_name(b->def.policy));
        }

        break;

    case CYCLES_SORT_DEBT:
        item.value = b->debt;
        item.of = 0;
        break;

    default: /* CYCLES_SORT_UTILIZATION, CYCLES_SORT_NONE */
        break;
    }

    cycles_page_add(l, &item);
}


static void
cycles_page_key(void *data, const cycles_key_view_t *k)
{
    cycles_listing_t *l = data;

    int                         status;
    cycles_str_t                id;
    cycles_page_item_t          item;
    const cycles_page_query_t  *q;

    q = l->query;
    l->number++;

    status = cycles_key_status(&k->def, l->now);

    id.len = CYCLES_KEY_ID_LEN;
    id.data = (unsigned char *) k->key_id;

    if ((q->status != -1 && q->status != status)
        || (q->tenant_id.len && !cycles_equal(k->def.tenant_id, q->tenant_id))
        || !(cycles_found(id, q->search)
             || cycles_found(k->def.name, q->search)))
    {
        return;
    }

    memset(&item, 0, sizeof(cycles_page_item_t));
    item.u.key = *k;

    switch (q->sort) {

    case CYCLES_SORT_KEY_ID:
        item.text = id;
        break;

    case CYCLES_SORT_NAME:
        item.text = k->def.name;
        break;

    case CYCLES_SORT_TENANT_ID:
        item.text = k->def.tenant_id;
        break;

    case CYCLES_SORT_STATUS:
        item.text = cycles_named(cycles_page_key_statuses[status]);
        break;

    case CYCLES_SORT_CREATED:
        item.value = k->def.created_ms;
        break;

    case CYCLES_SORT_EXPIRES:
        item.value = k->def.expires_ms ? k->def.expires_ms : INT64_MAX;
        break;

    default:
        break;
    }

    cycles_page_add(l, &item);
}


static int
cycles_key_status(const cycles_key_def_t *key, int64_t now)
{
    if (key->status != CYCLES_KEY_ACTIVE) {
        return 1;
    }

    return (key->expires_ms && now >= key->expires_ms) ? 2 : 0;
}


/* the list is in order, and never longer than one more than the page */

static void
cycles_page_add(cycles_listing_t *l, const cycles_page_item_t *found)
{
    unsigned             i, low, high;
    cycles_page_t       *list;
    cycles_page_item_t   item, *copy;

    list = l->list;
    item = *found;
    item.number = l->number;

    if (l->failed
        || (l->after && cycles_page_cmp(l->query, &item, l->after) <= 0)
        || (list->n > l->query->limit
            && cycles_page_cmp(l->query, &item, list->items[list->n - 1])
               > 0))
    {
        return;
    }

    copy = cycles_item_copy(l->query->kind, &item);

    if (copy == NULL) {
        l->failed = 1;
        return;
    }

    for (low = 0, high = list->n; low < high; /* void */ ) {
        i = (low + high) / 2;

        if (cycles_page_cmp(l->query, copy, list->items[i]) < 0) {
            high = i;

        } else {
            low = i + 1;
        }
    }

    if (list->n > l->query->limit) {
        free(list->items[--list->n]);
    }

    memmove(list->items + low + 1, list->items + low,
            (list->n - low) * sizeof(cycles_page_item_t *));

    list->items[low] = copy;
    list->n++;
}


/* numbers make the order a total one */

static int
cycles_page_cmp(const cycles_page_query_t *query,
    const cycles_page_item_t *a, const cycles_page_item_t *b)
{
    int       rc;
    size_t    len;
    __int128  one, two;

    rc = 0;

    if (query->sort != CYCLES_SORT_NONE) {
        len = (a->text.len < b->text.len) ? a->text.len : b->text.len;
        rc = len ? memcmp(a->text.data, b->text.data, len) : 0;

        if (rc == 0) {
            rc = (a->text.len > b->text.len) - (a->text.len < b->text.len);
        }

        if (rc == 0) {
            one = (__int128) a->value * (b->of ? b->of : 1);
            two = (__int128) b->value * (a->of ? a->of : 1);
            rc = (one > two) - (one < two);
        }
    }

    if (rc == 0) {
        rc = (a->number > b->number) - (a->number < b->number);
    }

    return query->descending ? -rc : rc;
}


static cycles_page_item_t *
cycles_item_copy(cycles_definitions_t kind, const cycles_page_item_t *item)
{
    size_t               len;
    unsigned             i, n;
    cycles_str_t        *strings[12];
    unsigned char       *p;
    cycles_page_item_t   from, *copy;

    from = *item;
    n = cycles_item_strings(kind, &from, strings);

    for (len = 0, i = 0; i < n; i++) {
        len += strings[i]->len;
    }

    copy = malloc(sizeof(cycles_page_item_t) + len);

    if (copy == NULL) {
        return NULL;
    }

    *copy = from;
    p = (unsigned char *) (copy + 1);
    n = cycles_item_strings(kind, copy, strings);

    for (i = 0; i < n; i++) {

        if (strings[i]->len) {
            memcpy(p, strings[i]->data, strings[i]->len);
            strings[i]->data = p;
            p += strings[i]->len;
        }
    }

    return copy;
}


static unsigned
cycles_item_strings(cycles_definitions_t kind, cycles_page_item_t *item,
    cycles_str_t **strings)
{
    unsigned               n;
    cycles_key_def_t      *key;
    cycles_tenant_def_t   *tenant;
    cycles_budget_view_t  *budget;

    n = 0;
    strings[n++] = &item->text;

    switch (kind) {

    case CYCLES_DEFINED_TENANTS:
        tenant = &item->u.tenant;

        strings[n++] = &tenant->tenant_id;
        strings[n++] = &tenant->name;
        strings[n++] = &tenant->parent_id;
        strings[n++] = &tenant->metadata;
        break;

    case CYCLES_DEFINED_BUDGETS:
        budget = &item->u.budget;

        strings[n++] = &budget->tenant_id;
        strings[n++] = &budget->def.scope;
        strings[n++] = &budget->def.metadata;
        strings[n++] = &budget->def.caps.tool_allowlist;
        strings[n++] = &budget->def.caps.tool_denylist;
        strings[n++] = &budget->def.period.timezone;
        break;

    default: /* CYCLES_DEFINED_KEYS */
        key = &item->u.key.def;

        strings[n++] = &key->tenant_id;
        strings[n++] = &key->name;
        strings[n++] = &key->description;
        strings[n++] = &key->prefix;
        strings[n++] = &key->scope_filter;
        strings[n++] = &key->revoked_reason;
        strings[n++] = &key->metadata;
    }

    return n;
}


/* whatever the case of ASCII letters; an empty one is found everywhere */

static int
cycles_found(cycles_str_t text, cycles_str_t search)
{
    size_t         i, k;
    unsigned char  a, b;

    for (i = 0; i + search.len <= text.len; i++) {

        for (k = 0; k < search.len; k++) {
            a = text.data[i + k];
            b = search.data[k];

            if (((a >= 'A' && a <= 'Z') ? (a | 0x20) : a)
                != ((b >= 'A' && b <= 'Z') ? (b | 0x20) : b))
            {
                break;
            }
        }

        if (k == search.len) {
            return 1;
        }
    }

    return 0;
}


static int
cycles_equal(cycles_str_t a, cycles_str_t b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}


static cycles_str_t
cycles_named(const char *name)
{
    cycles_str_t  s;

    s.len = strlen(name);
    s.data = (unsigned char *) name;

    return s;
}


/* what a cursor is good for */

static uint32_t
cycles_filters_hash(const cycles_page_query_t *query)
{
    size_t          i, k;
    uint32_t        hash;
    cycles_str_t    strings[5];
    unsigned char   bytes[7][8];

    strings[0] = query->tenant_id;
    strings[1] = query->parent_id;
    strings[2] = query->scope_prefix;
    strings[3] = query->scope_filter;
    strings[4] = query->search;

    cycles_put64(bytes[0], query->unit);
    cycles_put64(bytes[1], query->status);
    cycles_put64(bytes[2], query->over_limit);
    cycles_put64(bytes[3], query->has_debt);
    cycles_put64(bytes[4], query->utilization_min);
    cycles_put64(bytes[5], query->utilization_max);
    cycles_put64(bytes[6], query->kind);

    hash = CYCLES_HASH_INIT;

    for (i = 0; i < 5; i++) {

        for (k = 0; k < strings[i].len; k++) {
            hash = cycles_scope_hash(hash, strings[i].data[k]);
        }

        hash = cycles_scope_hash(hash, 0);
    }

    for (i = 0; i < sizeof(bytes); i++) {
        hash = cycles_scope_hash(hash, bytes[i / 8][i % 8]);
    }

    return hash;
}


/* hexadecimal digits: in a URL as they are, and short enough */

static void
cycles_cursor_write(const cycles_page_query_t *query, cycles_page_t *list)
{
    size_t                     len;
    unsigned char              buf[CYCLES_CURSOR_MAX];
    const cycles_page_item_t  *last;

    last = list->items[list->n - 1];

    buf[0] = 'L';
    buf[1] = query->sort;
    buf[2] = query->descending;
    cycles_put32(buf + 3, cycles_filters_hash(query));
    cycles_put32(buf + 7, last->number);
    len = CYCLES_CURSOR_HEAD;

    if (query->sort != CYCLES_SORT_NONE) {
        cycles_put64(buf + len, last->value);
        cycles_put64(buf + len + 8, last->of);
        len += 16;

        if (last->text.len) {
            memcpy(buf + len, last->text.data, last->text.len);
            len += last->text.len;
        }
    }

    cycles_hex_write(buf, len, list->cursor);
    list->cursor_len = len * 2;
}


static int
cycles_cursor_read(cycles_listing_t *l)
{
    size_t                      len;
    unsigned char              *buf;
    cycles_str_t                cursor;
    const cycles_page_query_t  *q;

    q = l->query;
    cursor = q->cursor;
    buf = l->cursor;
    len = cursor.len / 2;

    if (cursor.len % 2 || len > CYCLES_CURSOR_MAX
        || cycles_hex_read(cursor.data, len, buf) != 0)
    {
        return -1;
    }

    if (len < CYCLES_CURSOR_HEAD || buf[0] != 'L' || buf[1] != q->sort
        || buf[2] != q->descending
        || cycles_get32(buf + 3) != cycles_filters_hash(q))
    {
        return -1;
    }

    l->position.number = cycles_get32(buf + 7);

    if (q->sort != CYCLES_SORT_NONE) {

        if (len < CYCLES_CURSOR_HEAD + 16) {
            return -1;
        }

        l->position.value = cycles_get64(buf + CYCLES_CURSOR_HEAD);
        l->position.of = cycles_get64(buf + CYCLES_CURSOR_HEAD + 8);
        l->position.text.data = buf + CYCLES_CURSOR_HEAD + 16;
        l->position.text.len = len - CYCLES_CURSOR_HEAD - 16;
    }

    l->after = &l->position;

    return 0;
}

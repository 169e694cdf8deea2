
/*
 * Copyright (C) nginx-cycles authors
 *
 * Caps in memory: what is granted with them keeps them, whatever becomes of
 * the budget.
 */


#include <string.h>

#include "cycles_ledger_core.h"


static int cycles_caps_text_equal(const unsigned char *text, size_t len,
    cycles_str_t s);


/* with one use; 0: there is no memory for them */

cycles_ref_t
cycles_caps_alloc(cycles_ledger_t *ledger, const cycles_caps_t *caps)
{
    cycles_ref_t         ref;
    cycles_shm_caps_t   *kept;
    const cycles_str_t  *allow, *deny;

    allow = &caps->tool_allowlist;
    deny = &caps->tool_denylist;

    ref = cycles_defs_alloc(ledger, sizeof(cycles_shm_caps_t) + allow->len
                                    + deny->len);
    if (ref == 0) {
        return 0;
    }

    kept = cycles_memory_at(ledger, ref);

    kept->uses = 1;
    kept->max_tokens = caps->max_tokens;
    kept->max_steps_remaining = caps->max_steps_remaining;
    kept->cooldown_ms = caps->cooldown_ms;
    kept->allow_len = allow->len;
    kept->deny_len = deny->len;

    if (allow->len) {
        memcpy(kept->text, allow->data, allow->len);
    }

    if (deny->len) {
        memcpy(kept->text + allow->len, deny->data, deny->len);
    }

    return ref;
}


cycles_ref_t
cycles_caps_use(cycles_ledger_t *ledger, cycles_ref_t ref)
{
    cycles_shm_caps_t  *caps;

    caps = cycles_memory_at(ledger, ref);
    caps->uses++;

    return ref;
}


void
cycles_caps_release(cycles_ledger_t *ledger, cycles_ref_t ref)
{
    cycles_shm_caps_t  *caps;

    if (ref == 0) {
        return;
    }

    caps = cycles_memory_at(ledger, ref);

    if (--caps->uses == 0) {
        cycles_defs_release(ledger, ref, sizeof(cycles_shm_caps_t)
                                         + caps->allow_len + caps->deny_len);
    }
}


int
cycles_caps_equal(cycles_ledger_t *ledger, cycles_ref_t ref,
    const cycles_caps_t *caps)
{
    const cycles_shm_caps_t  *kept;

    kept = cycles_memory_at(ledger, ref);

    return kept->max_tokens == caps->max_tokens
           && kept->max_steps_remaining == caps->max_steps_remaining
           && kept->cooldown_ms == caps->cooldown_ms
           && cycles_caps_text_equal(kept->text, kept->allow_len,
                                     caps->tool_allowlist)
           && cycles_caps_text_equal(kept->text + kept->allow_len,
                                     kept->deny_len, caps->tool_denylist);
}


static int
cycles_caps_text_equal(const unsigned char *text, size_t len, cycles_str_t s)
{
    return len == s.len && (len == 0 || memcmp(text, s.data, len) == 0);
}

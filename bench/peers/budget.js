// Copyright (C) nginx-cycles authors
//
// A budget at a service: asked before a request, and told nothing after it.

async function reserve(r) {
    let reply = await ngx.fetch('http://127.0.0.1:' + r.variables.budget_port
                                + '/v1/reservations', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({
            subject: { tenant: r.headersIn['X-Tenant'] },
            action: { kind: 'llm.completion', name: 'openai:gpt-4o-mini' },
            estimate: { unit: 'USD_MICROCENTS', amount: 30000 }
        })
    });

    let body = await reply.json();

    r.return(body.decision == 'ALLOW' ? 204 : 403);
}

export default { reserve };

-- Copyright (C) nginx-cycles authors
--
-- A budget in a shared dictionary: the most that a request can cost is taken
-- before it goes on, and given back but for what the reply's usage costs.

local cjson = require "cjson.safe"

local input_price, output_price = 15, 60
local dict = ngx.shared.budgets
local find, sub = string.find, string.sub

local budget = {}


function budget.reserve()
    ngx.req.read_body()

    local body = ngx.req.get_body_data()
    local request = body and cjson.decode(body)

    if not request then
        return ngx.exit(400)
    end

    local tenant = ngx.var.http_x_tenant
    local estimate = #body / 4 * input_price
        + (request.max_completion_tokens or 4096) * output_price

    local left = dict:incr(tenant, -estimate)

    if not left or left < 0 then
        if left then
            dict:incr(tenant, estimate)
        end
        return ngx.exit(429)
    end

    ngx.ctx.tenant = tenant
    ngx.ctx.estimate = estimate
end


-- the usage is in the last event but one, or at the end of a plain reply

function budget.read()
    local chunk = ngx.arg[1]
    local ctx = ngx.ctx

    if not ctx.estimate or chunk == "" then
        return
    end

    local at = find(chunk, '"usage":%s*{')

    if at then
        local text = sub(chunk, at)
        ctx.input = tonumber(text:match('"prompt_tokens":%s*(%d+)'))
        ctx.output = tonumber(text:match('"completion_tokens":%s*(%d+)'))
    end
end


function budget.settle()
    local ctx = ngx.ctx

    if not ctx.estimate then
        return
    end

    local cost = ctx.estimate

    if ctx.input and ctx.output then
        cost = ctx.input * input_price + ctx.output * output_price
    end

    dict:incr(ctx.tenant, ctx.estimate - cost)
end


return budget

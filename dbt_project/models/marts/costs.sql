with

counted as (

    select * from {{ ref('int_cycle_costs') }}

),

cumulative as (

    select
        *,
        sum(n_requests) over so_far::bigint as cumulative_n_requests,
        case when count(*) filter (where tokens is null) over so_far = 0 then sum(tokens) over so_far end::bigint
            as cumulative_tokens,
        case when count(*) filter (where cost is null) over so_far = 0 then sum(cost) over so_far end
            as cumulative_cost,
        sum(n_published) over so_far::bigint as cumulative_n_published,
        coalesce(sum(n_promoted) over so_far, 0)::bigint as cumulative_n_promoted
    from counted
    window so_far as (partition by flywheel, arm order by cycle)

),

final as (

    select

        ---------- ids
        flywheel,
        cycle,
        arm,

        ---------- what was asked
        n_requests,
        n_answered,
        n_failed,
        n_tries,
        n_uncounted,

        ---------- what was paid
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        tokens,
        cost,

        ---------- what came of it
        n_outputs,
        n_blocked,
        n_superseded,
        n_published,
        n_promoted,

        ---------- about the cycle
        is_synthetic,

        ---------- every cycle up to this one
        cumulative_n_requests,
        cumulative_tokens,
        cumulative_cost,
        cumulative_n_published,
        cumulative_n_promoted,

        ---------- per output
        tokens / nullif(n_published, 0) as tokens_per_published,
        cost / nullif(n_promoted, 0) as cost_per_promoted,
        cumulative_tokens / nullif(cumulative_n_published, 0) as cumulative_tokens_per_published,
        -- An open cycle has been paid for and has nothing to show yet.
        case when n_promoted is not null then cumulative_cost / nullif(cumulative_n_promoted, 0) end
            as cumulative_cost_per_promoted

    from cumulative

)

select * from final
order by flywheel, cycle, arm

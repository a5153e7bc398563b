with

frames as (

    select * from {{ ref('stg_prompt_frames') }}

),

gate as (

    select * from {{ ref('stg_prompt_gate') }}

),

used as (

    select
        flywheel,
        frame_version,
        count(distinct cycle) filter (where arm = 'flywheel') as n_cycles_flywheel,
        count(distinct cycle) filter (where arm = 'challenger') as n_cycles_challenger,
        count(distinct cycle) filter (where arm = 'control') as n_cycles_control,
        count(distinct prompt_version) as n_prompts,
        min(cycle) as first_cycle,
        max(cycle) as last_cycle,
        bool_or(is_synthetic) as is_synthetic
    from {{ ref('prompts_used') }}
    where frame_version is not null
    group by 1, 2

),

last_close as (

    select
        flywheel,
        max(cycle) as cycle
    from gate
    group by 1

),

roles as (

    select
        gate.flywheel,
        gate.frame_version,
        string_agg(gate.role, ', ' order by gate.role) as role
    from gate
    inner join last_close on gate.flywheel = last_close.flywheel and gate.cycle = last_close.cycle
    group by 1, 2

),

compared as (

    select
        flywheel,
        frame_version,
        arg_max(estimate, cycle) as lift,
        arg_max(lower, cycle) as lower,
        arg_max(upper, cycle) as upper,
        arg_max(reason, cycle) as reason
    from gate
    -- The control shows no references: what it is worth says nothing about the frame.
    where estimate is not null and role != 'control'
    group by 1, 2

),

final as (

    select

        ---------- ids
        frames.flywheel,
        frames.frame_version,
        frames.parent_version,

        ---------- who made it, and why
        frames.author,
        frames.author_name,
        frames.note,
        json_array_length(frames.guidelines)::bigint as n_guidelines,
        frames.evidence,
        frames.recorded_at,
        frames.proposed_for,

        ---------- what became of it
        roles.role,
        coalesce(used.n_cycles_flywheel, 0) as n_cycles_flywheel,
        coalesce(used.n_cycles_challenger, 0) as n_cycles_challenger,
        coalesce(used.n_cycles_control, 0) as n_cycles_control,
        coalesce(used.n_prompts, 0) as n_prompts,
        used.first_cycle,
        used.last_cycle,
        used.is_synthetic,
        compared.lift,
        compared.lower,
        compared.upper,
        compared.reason

    from frames
    left join used on frames.flywheel = used.flywheel and frames.frame_version = used.frame_version
    left join roles on frames.flywheel = roles.flywheel and frames.frame_version = roles.frame_version
    left join compared on frames.flywheel = compared.flywheel and frames.frame_version = compared.frame_version

)

select * from final
order by flywheel, recorded_at, frame_version

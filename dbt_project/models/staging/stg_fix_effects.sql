with

source as (

    select * from {{ source('lake', 'fix_effects') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        fix_id,
        theme_id,

        ---------- text
        theme,
        what,
        verdict,
        reason,

        ---------- numerics
        ratio,
        low,
        high,
        n_before,
        n_after,
        n_controls,
        cycles_after,

        ---------- dates
        cycle,
        shipped_on

    from source

)

select * from renamed

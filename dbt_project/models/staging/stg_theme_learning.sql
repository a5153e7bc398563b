with

source as (

    select * from {{ source('lake', 'theme_learning') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        arm,

        ---------- numerics
        n_tickets,
        n_by_library,
        n_unknown,
        n_new,
        tokens,
        n_accepted,
        n_merged,
        n_rejected,

        ---------- booleans
        is_synthetic,

        ---------- dates
        cycle

    from source

)

select * from renamed

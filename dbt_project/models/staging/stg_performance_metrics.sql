with

source as (

    select * from {{ source('lake', 'performance_metrics') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,

        ---------- text
        metric,

        ---------- numerics
        numerator,
        exposure,
        value,
        n_reports,
        squares,

        ---------- booleans
        is_mature,

        ---------- dates
        cycle,

        ---------- timestamps
        known_at

    from source

)

select * from renamed

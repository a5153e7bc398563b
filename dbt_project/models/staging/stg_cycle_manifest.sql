with

source as (

    select * from {{ source('lake', 'cycle_manifest') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        prompt_version,
        corpus_version,
        scoring_model_version,
        threshold_version,
        config_hash,

        ---------- text
        settings,

        ---------- booleans
        is_synthetic,
        gap_allowed,

        ---------- dates
        cycle,
        predecessor,

        ---------- timestamps
        knowledge_cutoff

    from source

)

select * from renamed

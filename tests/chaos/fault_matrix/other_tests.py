"""Faults that need real hosts, real SSH or real jobs, and their tests."""

from __future__ import annotations

OTHER_TESTS = (
    ("F12", "a config file", "tests/remote/test_hostile_input.py::test_values_of_a_config_file_are_never_executed"),
    (
        "F12",
        "scripts on the VMs",
        "tests/remote/test_hostile_input.py::test_no_script_on_a_vm_executes_its_arguments",
    ),
    ("F12", "steps of an install", "tests/remote/test_hostile_input.py::test_a_steps_words_arrive_in_the_step"),
    (
        "F12",
        "a job's environment",
        "tests/remote/test_hostile_input.py::test_a_jobs_variables_arrive_in_its_environment",
    ),
    ("F12", "plain ssh", "tests/remote/test_hostile_input.py::test_plain_ssh_gets_a_value_unchanged_or_not_at_all"),
    (
        "F23",
        "measured here",
        "tests/aws/launch/test_requests.py::test_user_data_beyond_the_limit_of_ec2_is_refused_to_the_byte",
    ),
    (
        "F31",
        "checks fail for three minutes",
        "tests/cluster/test_health.py::test_a_machine_is_given_up_once_its_checks_have_failed_for_three_minutes",
    ),
    ("F31", "checks pass again", "tests/cluster/test_health.py::test_checks_that_pass_again_begin_the_count_anew"),
    ("F33", "refused", "tests/ssh/test_connect.py::test_refused_when_nothing_listens"),
    ("F33", "dropped", "tests/ssh/test_connect.py::test_dropped_when_packets_vanish"),
    (
        "F33",
        "this computer has another address",
        "tests/local/launch/test_network.py::test_on_another_network_hosts_are_silent_until_access_is_refreshed",
    ),
    (
        "F33",
        "a group of the user without a rule",
        "tests/local/launch/test_network.py::"
        "test_a_group_of_the_user_is_checked_before_the_launch_and_what_is_printed_opens_it",
    ),
    ("F33", "no route", "tests/ssh/test_connect.py::test_no_route_when_the_kernel_knows_no_way"),
    ("F33", "silent", "tests/ssh/test_connect.py::test_silent_when_it_accepts_and_says_nothing"),
    ("F33", "silent after its greeting", "tests/ssh/test_connect.py::test_silent_when_it_hangs_after_its_greeting"),
    (
        "F33",
        "the machine dies meanwhile",
        "tests/ssh/test_connection_pool.py::test_it_ends_early_when_the_machine_died",
    ),
    ("F34", "another user", "tests/ssh/test_connect.py::test_auth_when_the_user_is_wrong"),
    ("F34", "three tries", "tests/ssh/test_connection_pool.py::test_a_refused_login_is_tried_three_times_at_most"),
    ("F34", "let in late", "tests/ssh/test_connection_pool.py::test_a_login_that_is_let_in_late_succeeds"),
    ("F35", "another key", "tests/ssh/test_connect.py::test_auth_when_the_key_is_another"),
    (
        "F35",
        "a key that cannot be used",
        "tests/ssh/test_connect.py::test_key_file_when_the_private_key_cannot_be_used",
    ),
    ("F36", "changed", "tests/ssh/test_connect.py::test_host_key_when_another_machine_answers_and_it_gets_nothing"),
    ("F36", "unknown", "tests/ssh/test_connect.py::test_host_key_when_none_is_known_and_not_even_a_packet_is_sent"),
    ("F36", "plain ssh", "tests/ssh/test_openssh.py::test_plain_ssh_refuses_another_host_key_without_asking"),
    (
        "F36",
        "an impostor on the address",
        "tests/local/test_security.py::test_another_server_at_a_hosts_address_receives_no_byte_of_any_command",
    ),
    (
        "F37",
        "apt is held by another program",
        "tests/docker/test_install_hosts.py::test_an_engine_comes_from_the_distribution_once_apt_is_free_and_pulls_behind_a_login",
    ),
    (
        "F38",
        "a package that does not exist",
        "tests/local/test_experiment.py::test_a_failed_experiment_leaves_nothing_running",
    ),
    (
        "F38",
        "a failing step",
        "tests/remote/test_scripts.py::test_a_failing_step_ends_the_install_and_its_output_is_kept",
    ),
    (
        "F39",
        "an image that is not there",
        "tests/jobs/test_inputs.py::test_an_image_that_does_not_exist_is_an_error_with_its_name",
    ),
    ("F39", "a tag that is not there, on the host", "tests/docker/test_install.py::test_an_image_that_is_not_there"),
    ("F39", "no login", "tests/docker/test_install.py::test_an_image_behind_a_login"),
    ("F39", "a wrong password", "tests/docker/test_install.py::test_a_wrong_password_is_one_clear_line"),
    ("F39", "a limit of pulls", "tests/docker/test_install.py::test_a_registry_whose_limit_of_pulls_is_reached"),
    ("F39", "no answer", "tests/docker/test_install.py::test_a_registry_that_does_not_answer_is_asked_three_times"),
    (
        "F40",
        "too small for the image",
        "tests/docker/test_install_hosts.py::test_a_disk_that_is_too_small_for_the_image_is_found_out_before_the_pull",
    ),
    ("F41", "preflight", "tests/local/launch/test_preflight.py::test_data_missing_on_s3_is_reported_before_the_launch"),
    (
        "F42",
        "a second install",
        "tests/remote/test_scripts.py::test_a_second_install_changes_nothing_and_requests_no_upload",
    ),
    ("F42", "a broken transfer", "tests/remote/test_scripts.py::test_a_broken_transfer_leaves_the_old_folder"),
    (
        "F43",
        "the job fails",
        "tests/local/test_session.py::test_a_failed_job_is_reported_with_its_exit_status_and_logs",
    ),
    ("F43", "the job is killed", "tests/remote/test_scripts.py::test_a_task_killed_with_its_wrapper_is_lost_not_done"),
    (
        "F44",
        "one of two hosts dies",
        "tests/local/test_session.py::test_a_dead_host_does_not_affect_the_outcome_of_the_others",
    ),
    ("F44", "a silent partition", "tests/ssh/test_channel.py::test_a_stream_that_falls_silent_is_lost"),
    (
        "F45",
        "a spot notice",
        "tests/local/launch/test_spot.py::test_a_spot_notice_reaches_the_job_and_results_are_fetched_before_the_reclaim",
    ),
    ("F46", "kill -9 of the shell", "tests/local/test_session.py::test_kill_9_of_the_shell_loses_nothing"),
    (
        "F47",
        "SIGTERM and SIGHUP",
        "tests/local/jobs/test_ending_signals.py::test_an_experiment_that_gets_a_signal_terminates_its_vms",
    ),
    (
        "F47",
        "a closed terminal",
        "tests/local/jobs/test_ending_signals.py::test_an_experiment_whose_terminal_is_closed_terminates_its_vms",
    ),
    (
        "F49",
        "two shells launch",
        "tests/local/launch/test_failover.py::test_two_shells_do_not_launch_into_one_cluster_at_the_same_time",
    ),
    (
        "F49",
        "launch and terminate",
        "tests/local/launch/test_failover.py::test_terminate_all_waits_for_a_launch_in_another_shell_and_reports_both",
    ),
    (
        "F50",
        "the next start",
        "tests/local/launch/test_failover.py::test_the_next_session_finds_an_interrupted_launch_and_resumes_or_terminates_it",
    ),
    (
        "F49",
        "two computers launch",
        "tests/cluster/test_inventory.py::test_a_second_computer_does_not_replace_the_key_pair_of_a_launch_in_progress",
    ),
    (
        "F49",
        "two VMs of one name",
        "tests/cluster/test_inventory.py::test_of_two_instances_of_one_name_both_can_be_named",
    ),
    (
        "F51",
        "a job rewrites its record",
        "tests/services/test_hostile_jobs.py::test_a_job_cannot_write_outside_its_folder_by_rewriting_its_record",
    ),
    (
        "F51",
        "records of runs",
        "tests/jobs/test_host_output.py::test_a_record_that_is_damaged_or_a_lie_is_one_line_and_the_others_go_on",
    ),
    (
        "F51",
        "marks in a log",
        "tests/services/test_hostile_jobs.py::test_every_line_of_a_job_is_in_its_log_whatever_it_begins_with",
    ),
    (
        "F51",
        "an archive bomb",
        "tests/ssh/test_hostile_archives.py::test_an_archive_bomb_ends_at_the_limit_and_what_came_before_stays",
    ),
    ("F51", "headers without end", "tests/ssh/test_hostile_archives.py::test_headers_of_any_length_fill_no_memory"),
    (
        "F51",
        "output without end",
        "tests/services/test_hostile_jobs.py::test_a_host_that_answers_without_end_is_one_error",
    ),
    (
        "F51",
        "names on the screen",
        "tests/interface/test_console.py::test_text_of_hosts_reaches_no_screen_and_no_log_unseen",
    ),
    ("F51", "arbitrary input", "tests/fuzz/test_fuzz.py::test_no_input_of_others_is_a_traceback"),
    (
        "F51",
        "attacks on every verb",
        "tests/local/test_hostile_hosts.py::test_every_verb_ends_with_the_honest_hosts_outcome_and_writes_nothing_else",
    ),
    ("F51", "memory", "tests/local/test_hostile_hosts.py::test_endless_output_takes_little_memory"),
    (
        "F51",
        "packets and banners without end",
        "tests/ssh/test_connect.py::test_what_a_port_sends_without_end_is_not_held_in_memory",
    ),
    (
        "F51",
        "bytes now and then in place of heartbeats",
        "tests/ssh/test_channel.py::test_bytes_now_and_then_without_a_line_end_count_as_silence_of_commands_with_heartbeats",
    ),
    (
        "F51",
        "bytes now and then",
        "tests/ssh/test_channel.py::test_bytes_now_and_then_count_as_silence_where_output_is_all_there_already",
    ),
    (
        "F69",
        "an answer lacks a field",
        "tests/aws/test_answers.py::test_a_field_that_is_missing_or_damaged_is_one_error",
    ),
    (
        "F69",
        "of a launch",
        "tests/aws/test_answers.py::test_instances_of_an_unusable_answer_to_a_launch_are_found_by_its_token",
    ),
    (
        "F52",
        "while VMs are up",
        "tests/local/launch/test_terminate_without_disk.py::test_everything_is_terminated_by_the_tags",
    ),
    (
        "F52",
        "without a proof",
        "tests/local/launch/test_terminate_without_disk.py::test_without_a_proof_and_without_a_journal_something_may_be_left",
    ),
    (
        "F53",
        "name, region, owner",
        "tests/cluster/test_elsewhere.py::test_what_was_launched_before_an_edit_is_named_everywhere_and_ended_when_asked_for",
    ),
    (
        "F53",
        "another account",
        "tests/cluster/test_elsewhere.py::test_what_cannot_be_looked_up_is_named_from_the_journal",
    ),
    (
        "F55",
        "a named group, VMs not shown",
        "tests/local/launch/test_guard_group.py::test_another_computer_leaves_nothing_of_a_launch_that_ec2_does_not_show",
    ),
    (
        "F55",
        "the guard group is not permitted",
        "tests/local/launch/test_guard_group.py::test_without_a_guard_group_a_launch_says_so_and_only_time_is_a_proof",
    ),
    (
        "F49",
        "several people, computers and sessions behind one role",
        "tests/cluster/ownership/test_owners.py::test_the_table_of_owners_holds",
    ),
    (
        "F49",
        "the other computer's VMs, terminated by name",
        "tests/cluster/ownership/test_owners.py::test_the_vms_of_another_computer_are_terminated_by_the_command_that_the_message_names",
    ),
    (
        "F62",
        "record and state files",
        "tests/services/test_hostile_jobs.py::test_one_damaged_run_is_one_line_and_all_others_are_listed_fetched_and_canceled",
    ),
    (
        "F62",
        "metrics of a failed job",
        "tests/services/test_hostile_jobs.py::test_half_a_metrics_file_does_not_replace_the_jobs_own_error",
    ),
    (
        "F60",
        "lock, route, DNS, clock, disk; process hosts",
        "tests/local/jobs/test_package_faults.py::test_rehearsed_faults_of_packages_are_one_line_of_their_vm",
    ),
    (
        "F60",
        "lock, route, DNS, clock, disk, needrestart; docker hosts",
        "tests/docker/test_package_faults.py::test_rehearsed_faults_of_packages_are_one_line_of_their_vm",
    ),
    (
        "F60",
        "the index of pip",
        "tests/remote/steps/test_apt.py::test_an_index_that_cannot_be_reached_is_no_missing_package",
    ),
    (
        "F60",
        "a mirror that never answers",
        "tests/remote/steps/test_apt.py::test_a_mirror_that_never_answers_has_a_deadline",
    ),
    ("F62", "a full disk on the VM", "tests/remote/test_scripts.py::test_a_full_disk_loses_no_exit_status_and_is_told"),
    (
        "F67",
        "files",
        "tests/jobs/test_spec.py::test_a_job_reads_nothing_outside_its_folder_unless_the_users_config_allows_it",
    ),
    (
        "F67",
        "variables",
        "tests/jobs/test_spec.py::test_a_job_carries_no_credential_to_a_vm_unless_the_users_config_allows_it",
    ),
)
"""Fault, phase, test."""

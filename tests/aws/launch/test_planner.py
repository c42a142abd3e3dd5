"""Names, plans, prices and requests: the parts of the way to EC2 that need no EC2."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws import identity
from orchestrator.aws.capacity.pools import SPOT, Pool, remaining_after
from orchestrator.aws.ec2 import host_names, images, instances
from orchestrator.aws.ec2.instance_types import InstanceType
from orchestrator.aws.ec2.network import Placement, Subnet
from orchestrator.aws.launch import plan, planner
from orchestrator.aws.launch.run_instances import USER_DATA_BYTES, LaunchResources, build_request, user_data
from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.aws.pricing import price_table
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import UsageError
from orchestrator.crypto.ssh_keys import HostKey
from tests.support.aws_wire import Time

MINE = identity.ClusterId("ml", "arn:aws:iam::123456789012:user/ada", "123456789012", "us-west-2")
MACHINE = InstanceType("c7i.2xlarge", 8, 16.0, ("x86_64",), zones=("us-west-2a", "us-west-2b"))
IMAGE = images.Image("ami-1", "ubuntu", "ubuntu", "x86_64", "/dev/sda1", 8)
A, B = Subnet("subnet-a", "us-west-2a", 100), Subnet("subnet-b", "us-west-2b", 50)
HOST_KEY = HostKey(private='-----BEGIN\n"quotes": {braces} #hash\n', public="ssh-ed25519 AAAAC3Nz")

PLAN = plan.LaunchPlan(
    cluster_id=MINE,
    launch_id="20261120-141207-ab12",
    names=("ml-0", "ml-1"),
    type_info=MACHINE,
    image=IMAGE,
    placement=Placement("vpc-1", (A, B)),
    subnet=A,
    disk=instances.Disk("gp3", 75),
    max_hours=8.0,
    user="ubuntu",
    price=price_table.per_hour("c7i.2xlarge", "us-west-2"),
    disk_price=price_table.disk_per_hour(instances.Disk("gp3", 75), "us-west-2"),
)
KEY = LaunchResources("stratus-ml-1", "sg-1", HOST_KEY)

clusters = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


# -- names


@given(cluster=clusters, numbers=st.sets(st.integers(0, 5000), min_size=1, max_size=40))
def test_names_survive_the_tag(cluster: str, numbers: set[int]) -> None:
    given = tuple(f"{cluster}-{number}" for number in sorted(numbers))

    assert host_names.expand(host_names.compress(given)) == given


@given(st.text("ml-[]0123456789,", max_size=30) | st.text(max_size=300))
def test_a_tag_is_either_exactly_what_we_write_or_refused(value: str) -> None:
    try:
        found = host_names.expand(value)
    except ValueError:
        return
    assert host_names.compress(found) == value


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        (["ml-0"], "ml-0"),
        (["ml-0", "ml-1"], "ml-[0-1]"),
        (["a-b-3", "a-b-5"], "a-b-[3,5]"),
        ([f"ml-{number}" for number in [0, 3, 5, 6, 7]], "ml-[0,3,5-7]"),
        ([f"ml-{number}" for number in range(1000)], "ml-[0-999]"),
    ],
)
def test_names_are_packed_as_ranges(given: list[str], packed: str) -> None:
    assert host_names.compress(given) == packed


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ml",
        "ml-",
        "ml-[]",
        "ml-[3-3]",
        "ml-[1-0]",
        "ml-[0,1]",
        "ml-[0-999999999]",
        "ml-00",
        "ml-[0-1],x",
        "ML-0",
        "ml-[2,0]",
        " ml-0",
        "ml-0\n",
        "x" * 300,
    ],
)
def test_a_tag_that_we_never_write_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"machines|range|names"):
        host_names.expand(value)


def test_names_that_do_not_fit_into_a_tag_are_refused() -> None:
    with pytest.raises(ValueError, match="500 VMs do not fit into a tag of 256"):
        host_names.compress([f"ml-{number}" for number in range(0, 1000, 2)])


def test_new_machines_take_the_lowest_free_numbers_and_living_ones_keep_theirs() -> None:
    assert host_names.next_names("ml", 2) == ("ml-0", "ml-1")
    assert host_names.next_names("ml", 2, taken={"ml-0", "ml-1"}) == ("ml-2", "ml-3")
    assert host_names.next_names("ml", 3, taken={"ml-1", "ml-3"}) == ("ml-0", "ml-2", "ml-4")


def test_names_sort_by_number() -> None:
    assert sorted(["ml-10", "i-0ab", "ml-9"], key=host_names.sort_key) == ["i-0ab", "ml-9", "ml-10"]


# -- plans and prices


def test_a_plan_adds_machines_and_disks_up_to_what_it_costs_when_forgotten() -> None:
    per_machine = Decimal("0.357") + Decimal("0.08") * 75 / 730

    assert PLAN.usd_per_hour == 2 * per_machine
    assert PLAN.max_cost_usd == 16 * per_machine
    assert round(PLAN.max_cost_usd, 2) == Decimal("5.84")


def test_an_unknown_price_stays_unknown_and_is_never_zero() -> None:
    assert replace(PLAN, price=None).max_cost_usd is None
    assert replace(PLAN, disk_price=None).max_cost_usd is None


def test_a_place_puts_the_clusters_own_zones_first_then_the_emptiest_subnet() -> None:
    c = Subnet("subnet-c", "us-west-2c", 500)
    place = Placement("vpc-1", (A, B, c))

    assert place.within(["us-west-2a", "us-west-2b"]).subnets == (A, B)
    assert place.within(place.zones).subnets == (c, A, B)
    assert place.within(place.zones, preferred_zones=["us-west-2b"]).subnets == (B, c, A)
    assert place.within(place.zones, count=101).subnets == (c,)


@pytest.mark.parametrize(
    ("disk", "usd"),
    [
        (instances.Disk("gp3", 730), "0.08"),
        (instances.Disk("gp2", 730), "0.1"),
        (instances.Disk("io2", 730, iops=1000), str(Decimal("0.125") + 65 / Decimal(730))),
    ],
)
def test_a_disks_hour_is_its_month_over_730(disk: instances.Disk, usd: str) -> None:
    price = price_table.disk_per_hour(disk, "us-east-1")

    assert price is not None
    assert price.usd == pytest.approx(Decimal(usd))
    assert "2026-07" in price.source


@pytest.mark.parametrize(
    "disk",
    [
        instances.Disk("st1", 500),
        instances.Disk("io1", 75, iops=100),
        instances.Disk("gp3", 75, iops=3001),
        instances.Disk("gp3", 75, throughput=126),
        instances.Disk("io2", 75),
        instances.Disk("io2", 75, iops=64000),
    ],
)
def test_a_disk_beyond_the_table_has_an_unknown_price(disk: instances.Disk) -> None:
    assert price_table.disk_per_hour(disk, "us-east-1") is None


def test_types_and_regions_beyond_the_table_have_an_unknown_price() -> None:
    assert price_table.per_hour("p3.2xlarge", "us-east-1") is None
    assert price_table.per_hour("c7i.2xlarge", "eu-central-1") is None
    assert price_table.disk_per_hour(instances.Disk("gp3", 75), "eu-central-1") is None


def test_us_west_2_has_the_prices_of_us_east_1_and_says_so() -> None:
    here, there = (price_table.per_hour("g5.xlarge", region) for region in ("us-west-2", "us-east-1"))

    assert here is not None
    assert there is not None
    assert here.usd == there.usd == Decimal("1.006")
    assert "us-west-2 is the same" in here.source


# -- requests


def test_a_request_asks_for_all_or_none_with_everything_that_keeps_machines_safe() -> None:
    request = build_request(PLAN, KEY, expires=datetime(2026, 11, 20, 22, 12, 7, tzinfo=UTC))

    assert (request["MinCount"], request["MaxCount"]) == (2, 2)
    assert request["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert request["BlockDeviceMappings"] == [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {"VolumeSize": 75, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": True},
        }
    ]
    assert (request["SubnetId"], request["SecurityGroupIds"]) == ("subnet-a", ["sg-1"])
    assert "IamInstanceProfile" not in request
    assert "ClientToken" not in request


def test_machines_disks_and_network_cards_are_tagged_as_they_are_made() -> None:
    request = build_request(PLAN, KEY, expires=datetime(2026, 11, 20, 22, 12, 7, tzinfo=UTC))
    kinds = {
        each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
        for each in request["TagSpecifications"]
    }

    assert set(kinds) == {"instance", "volume", "network-interface"}
    assert kinds["instance"] == {
        "stratus:cluster": "ml",
        "stratus:owner": MINE.owner,
        "stratus:run": PLAN.launch_id,
        "stratus:hosts": "ml-[0-1]",
        "stratus:expires": "2026-11-20T22:12:07+00:00",
        "stratus:hours": "8",
        "stratus:hostkey": "AAAAC3Nz",
        "stratus:bootkey": "AAAAC3Nz",
        "stratus:disk": "gp3:75:0:0",
        "stratus:user": "ubuntu",
        "Name": "ml-[0-1]",
    }


@pytest.mark.parametrize(("address", "wanted"), [("public", True), ("private", False)])
def test_an_address_that_the_config_insists_on_is_asked_for(address: str, wanted: bool) -> None:
    request = build_request(replace(PLAN, address_type=address), KEY, expires=datetime.now(UTC))

    assert request["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is wanted
    assert "SubnetId" not in request


@pytest.mark.parametrize(("profile", "kind"), [("ml-role", "Name"), ("arn:aws:iam::1:instance-profile/ml", "Arn")])
def test_an_instance_profile_goes_by_name_or_arn(profile: str, kind: str) -> None:
    request = build_request(replace(PLAN, instance_profile=profile), KEY, expires=datetime.now(UTC))

    assert request["IamInstanceProfile"] == {kind: profile}


def test_disk_speed_is_asked_for_only_when_it_is_set() -> None:
    fast = replace(PLAN, disk=instances.Disk("gp3", 75, iops=4000, throughput=250, encrypted=False))
    ebs = build_request(fast, KEY, expires=datetime.now(UTC))["BlockDeviceMappings"][0]["Ebs"]

    assert (ebs["Iops"], ebs["Throughput"], ebs["Encrypted"]) == (4000, 250, False)


def test_user_data_that_ec2_would_not_take_is_refused_here_to_the_byte() -> None:
    """Before base64, as EC2 counts: what fits makes a launch, one byte more is said in one line."""
    limits = TimeLimits(480, budget_minutes=960, idle_minutes=30)
    room = USER_DATA_BYTES - len(user_data(HostKey("", HOST_KEY.public), limits).encode())
    assert len(user_data(HostKey("k" * room, HOST_KEY.public), limits).encode()) == 16384
    assert room > 8000, "the scripts that every machine boots with take up half of it"

    with pytest.raises(UsageError, match="the machines' user data has 16,385 bytes, EC2 takes 16,384") as caught:
        user_data(HostKey("k" * (room + 1), HOST_KEY.public), limits)
    assert caught.value.code == "InvalidUserData.Malformed"


def test_user_data_is_a_cloud_config_that_brings_the_host_key_and_the_end() -> None:
    text = user_data(HOST_KEY, TimeLimits(91, 400, 30, 22022))
    config = json.loads(text.removeprefix("#cloud-config\n"))

    assert text.startswith("#cloud-config\n")
    assert len(text) < 16 * 1024
    assert config["ssh_deletekeys"] is True
    assert config["ssh_keys"] == {"ed25519_private": HOST_KEY.private, "ed25519_public": HOST_KEY.public}
    files = {each["path"]: each for each in config["write_files"]}
    assert files["/var/lib/cloud/scripts/per-boot/stratus-expire"]["permissions"] == "0755"
    assert files["/var/lib/stratus/limits"]["content"] == "minutes=91 budget=400 idle=30 port=22022\n"


@given(st.text(st.characters(codec="ascii"), max_size=200))
def test_user_data_means_the_same_to_a_yaml_reader_whatever_the_key_holds(private: str) -> None:
    yaml = pytest.importorskip("yaml")

    config = yaml.safe_load(user_data(HostKey(private, "ssh-ed25519 AAAA"), TimeLimits(480)))

    assert config["ssh_keys"]["ed25519_private"] == private


# -- who and whose


@pytest.mark.parametrize(
    ("arn", "owner"),
    [
        ("arn:aws:iam::1:user/ada", "arn:aws:iam::1:user/ada"),
        ("arn:aws:sts::1:assumed-role/Lab/ada@example.org", "arn:aws:sts::1:assumed-role/Lab/ada@example.org"),
        ("arn:aws:sts::1:assumed-role/Lab/botocore-session-1763648000", "arn:aws:sts::1:assumed-role/Lab"),
    ],
)
def test_the_owner_stays_the_same_from_one_session_to_the_next(arn: str, owner: str) -> None:
    assert identity.Identity("1", arn).owner == owner


def test_names_of_own_things_differ_by_owner_and_account_but_not_by_day() -> None:
    others = [replace(MINE, owner="eve"), replace(MINE, account="2"), replace(MINE, cluster="mm")]

    assert MINE.resource_name == replace(MINE).resource_name
    assert MINE.resource_name.startswith("stratus-ml-")
    assert len({MINE.resource_name, *(other.resource_name for other in others)}) == 4


def test_only_both_tags_together_make_a_thing_ours() -> None:
    assert MINE.matches(MINE.tags)
    assert not MINE.matches(MINE.tags[:1])
    assert not MINE.matches(MINE.tags[1:])
    assert not MINE.matches(replace(MINE, owner="eve").tags)


def test_a_wildcard_in_an_owners_name_finds_that_owner_only() -> None:
    assert identity.tag_filter("stratus:owner", "lab*?")["Values"] == [r"lab\*\?"]


@pytest.mark.parametrize(
    ("words", "user"),
    [
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260901", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260901", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20260901", "ec2-user"),
        ("al2023-ami-2023.9.20260901.0-kernel-6.1-x86_64 Amazon Linux 2023 AMI", "ec2-user"),
        ("RHEL-9.4.0_HVM-20260901-x86_64", "ec2-user"),
        ("debian-12-amd64-20260901", "admin"),
        ("my lab's image", ""),
    ],
)
def test_the_login_name_follows_from_the_image(words: str, user: str) -> None:
    assert images.login_name(words) == user


def test_a_disk_survives_its_tag() -> None:
    disk = instances.Disk("gp3", 75, 4000, 250)

    assert instances.Disk.from_tag(disk.tag_value) == disk
    assert instances.Disk.from_tag("") is None
    assert instances.Disk.from_tag("gp3:75") is None
    assert instances.Disk.from_tag("gp3:x:0:0") is None


def test_a_machine_with_tags_that_make_no_sense_still_shows_under_its_id() -> None:
    facts = {
        "InstanceId": "i-1",
        "InstanceType": "c7i.2xlarge",
        "State": {"Name": "running"},
        "Placement": {},
        "LaunchTime": datetime(2026, 11, 20, tzinfo=UTC),
        "AmiLaunchIndex": 7,
        "Tags": [
            {"Key": "stratus:hosts", "Value": "ml-[0-1]"},
            {"Key": "stratus:expires", "Value": "soon"},
            {"Key": "stratus:hours", "Value": ""},
            {"Key": "stratus:disk", "Value": "?"},
        ],
    }
    found = instances.from_response(facts)  # type: ignore[arg-type]

    assert (found.name, found.expires_at, found.max_hours, found.disk, found.host_key) == ("i-1", None, 0.0, None, "")


# -- waiting


def test_tries_come_at_once_in_growing_pauses_and_a_last_time_at_the_deadline() -> None:
    time = Time()

    assert list(time.clock.attempts(10, Backoff(first_s=1, longest_s=4, growth=2))) == [0, 1, 3, 7, 10]


def test_a_try_that_outlasts_the_deadline_is_the_last_one() -> None:
    time = Time()
    tries = time.clock.attempts(10)
    next(tries)
    time.seconds = 11

    assert list(tries) == []


def test_an_error_that_passes_is_retried_and_any_other_is_raised_at_once() -> None:
    time = Time()
    failures: list[Exception] = [OSError("busy"), OSError("busy")]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert time.clock.retry(call, is_transient=lambda error: isinstance(error, OSError), timeout_s=60) == "done"
    failures.append(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        time.clock.retry(call, is_transient=lambda error: isinstance(error, OSError), timeout_s=60)


def test_an_error_that_does_not_pass_is_raised_at_the_deadline() -> None:
    time = Time()

    def call() -> None:
        raise OSError("busy")

    with pytest.raises(OSError, match="busy"):
        time.clock.retry(call, is_transient=lambda error: isinstance(error, OSError), timeout_s=60)
    assert time.seconds == 60


def test_launch_ids_sort_by_time_and_never_repeat() -> None:
    time = Time()
    first, second = planner.new_launch_id(time.clock), planner.new_launch_id(time.clock)
    time.clock.sleep(1)

    assert first.startswith("20261120-141207-")
    assert first != second
    assert max(first, second) < planner.new_launch_id(time.clock)


def test_the_most_that_a_launch_can_cost_is_that_of_its_dearest_pool() -> None:
    assert PLAN.price is not None
    cheap = Pool(PLAN.type_info, PLAN.subnet, price=PLAN.price)
    dear = replace(cheap, price=replace(PLAN.price, usd=PLAN.price.usd * 2))
    unknown = replace(cheap, price=None)

    assert replace(PLAN, pools=(cheap,)).max_cost_usd == PLAN.max_cost_usd
    assert replace(PLAN, pools=(cheap, dear)).max_cost_usd == replace(PLAN, price=dear.price).max_cost_usd
    assert replace(PLAN, pools=(cheap, unknown)).max_cost_usd is None


A2 = replace(A, id="subnet-2a")


def test_after_a_refusal_only_pools_that_can_help_are_left() -> None:
    big = replace(PLAN.type_info, name="g5.xlarge")
    spot, first, same, other, gpu = (
        Pool(PLAN.type_info, A, SPOT),
        Pool(PLAN.type_info, A),
        Pool(PLAN.type_info, A2),
        Pool(PLAN.type_info, B),
        Pool(big, A),
    )
    pools = [first, same, other, gpu]

    assert remaining_after(pools, "InsufficientInstanceCapacity") == [other, gpu]
    assert remaining_after([first, other, same], "InsufficientFreeAddressesInSubnet") == [same, other]
    assert remaining_after(pools, "VcpuLimitExceeded") == [gpu]
    assert remaining_after([spot, first], "MaxSpotInstanceCountExceeded") == [first]
    assert remaining_after([spot, first], "AuthFailure.ServiceLinkedRoleCreationNotPermitted") == [first]
    assert remaining_after(pools, "Unsupported") == [other, gpu]
    assert remaining_after(pools, "UnauthorizedOperation") is None

"""What an endpoint wants of the nodes of a cluster, told before anything starts."""

import threading

import pytest

from experts.eligibility.nodes import Cluster, ClusterNode
from serve import placing
from serve.config import ServeConfig
from serve.config.home_mark import MARK_NAME, check_home, mark_home, sees_home
from serve.placing import check_nodes
from warehouse import CannotRunError, InputError


def node(number, cpus=4.0, **labels):
    return ClusterNode(f"10.0.0.{number}", {"CPU": cpus}, labels, f"id{number}")


@pytest.fixture
def cluster(monkeypatch):
    """Nodes of the test's own; those named in ``blind`` do not see the home."""

    def make(*nodes, blind=()):
        def find_blind(offered, home, mark):
            assert mark == mark_home(home)
            return [one for one in offered if one.address in blind]

        monkeypatch.setattr(placing, "look_at_cluster", lambda: Cluster(nodes))
        monkeypatch.setattr(placing, "_find_blind", find_blind)

    return make


def config_of(tmp_path, **fields):
    return ServeConfig(home=tmp_path, home_mark=mark_home(tmp_path), **fields)


POSTGRES = "postgresql://leeroo@db/leeroo"


def hosted(**resources):
    from experts import ExpertSpec

    fields = {"name": "big", "backend": "vllm", "model": "m", "resources": resources}
    return ExpertSpec.model_validate(fields | {"price": {"usd_per_mtok_in": 1, "usd_per_mtok_out": 1}})


def test_one_node_needs_nothing_of_it(cluster, tmp_path):
    cluster(node(1), blind=["10.0.0.1"])
    check_nodes(config_of(tmp_path), [])


def test_a_head_without_cpus_gets_no_part(cluster, tmp_path):
    cluster(node(1), node(2, cpus=0.0), blind=["10.0.0.2"])
    check_nodes(config_of(tmp_path), [])


def test_a_ledger_in_a_file_is_for_one_node(cluster, tmp_path):
    cluster(node(1), node(2))
    with pytest.raises(
        InputError, match=r"ledger is a file, and 2 nodes may get .*10\.0\.0\.2.*LEEROO_LEDGER"
    ):
        check_nodes(config_of(tmp_path), [])
    check_nodes(config_of(tmp_path, ledger=POSTGRES), [])


def test_nodes_that_do_not_see_the_home_are_named(cluster, tmp_path):
    cluster(node(1, home="here"), node(2), node(3), blind=["10.0.0.2", "10.0.0.3"])
    with pytest.raises(CannotRunError, match=r"10\.0\.0\.2 .*10\.0\.0\.3 .*no such home.*node_labels"):
        check_nodes(config_of(tmp_path, ledger=POSTGRES), [])
    check_nodes(config_of(tmp_path, node_labels={"home": "here"}), [])  # one node, so the file will do


def test_what_fits_on_no_node_is_told_at_once(cluster, tmp_path):
    cluster(node(1, zone="x"))
    check_nodes(config_of(tmp_path), [hosted(num_cpus=8)])  # engines on a CPU share its cores
    with pytest.raises(CannotRunError, match=r"expert 'big': no node can hold it: it takes .*1 GPUs"):
        check_nodes(config_of(tmp_path), [hosted(num_gpus=1)])
    with pytest.raises(CannotRunError, match="a label zone=y"):
        check_nodes(config_of(tmp_path), [hosted(node_labels={"zone": "y"})])
    with pytest.raises(CannotRunError, match=r"the endpoint: no node can hold it: .*home=here"):
        check_nodes(config_of(tmp_path, node_labels={"home": "here"}), [])


def test_all_who_mark_a_home_at_once_get_one_mark(tmp_path):
    marks, start = [], threading.Barrier(8)

    def mark():
        start.wait()
        marks.append(mark_home(tmp_path / "new"))

    threads = [threading.Thread(target=mark) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(marks)) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == [MARK_NAME]


def test_another_home_and_none_are_told_apart_from_the_endpoints(tmp_path):
    mark, other = mark_home(tmp_path / "one"), mark_home(tmp_path / "two")
    assert mark != other
    check_home(tmp_path / "one", mark)
    check_home(tmp_path / "none", None)
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / MARK_NAME).write_bytes(b"\xff\xfe")
    for place in ("two", "three", "none"):
        assert not sees_home(tmp_path / place, mark)
        with pytest.raises(CannotRunError, match="does not see the endpoint's home"):
            check_home(tmp_path / place, mark)

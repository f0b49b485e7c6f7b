using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

/// <summary>Files of a cgroup, as ordinary files: what is written where.</summary>
public sealed class VmCgroupTests : IDisposable
{
    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    private Dictionary<string, string> Limits(long? memory, int? vcpus, params string[] files)
    {
        foreach (var file in files)
            File.WriteAllText(_root.Of(file), "max");
        new VmCgroup(_root.FullPath).Create(memory, vcpus);
        return Directory.EnumerateFiles(_root.FullPath).ToDictionary(path => Path.GetFileName(path), File.ReadAllText);
    }

    [Fact]
    public void Create_WithAllControllers_LimitsEach()
    {
        var limits = Limits(4L << 30, 3, "memory.max", "cpu.max", "pids.max");
        Assert.Equal([("cpu.max", "400000 100000"), ("memory.max", "6979321856"), ("pids.max", "512")], limits.Select(l => (l.Key, l.Value)).Order());
    }

    [Fact]
    public void Create_WithoutAController_LeavesItOut() => Assert.Empty(Limits(4L << 30, 3));

    [Fact]
    public void Create_WhenMemoryAndCpusAreNotLimited_BoundsTasks() => Assert.Equal("512", Assert.Single(Limits(null, null, "pids.max")).Value);

    [Theory]
    [InlineData("/", "")]
    [InlineData("/system.slice/sandbox-worker.service", "/system.slice/sandbox-worker.service")]
    [InlineData("/system.slice/sandbox-worker.service/sandbox-worker", "/system.slice/sandbox-worker.service")]
    [InlineData("/sandbox-worker", "")]
    public void Above_ALeafOfADelegatedUnit_IsTheUnit(string own, string above) => Assert.Equal(above, CgroupTree.Above(own));

    [Theory]
    [InlineData("cpuset cpu io memory hugetlb pids rdma\n", "+memory +cpu +pids", null)]
    [InlineData("cpu memory\n", "+memory +cpu", null)]
    [InlineData("cpu pids\n", null, "the cgroup v2 controllers memory are not delegated")]
    public void EnableControllers_TakesThoseThatAreThere(string available, string? enabled, string? reason)
    {
        File.WriteAllText(_root.Of("cgroup.controllers"), available);
        Assert.Equal(reason is null ? null : $"{reason} to {_root.FullPath}", CgroupTree.EnableControllers(_root.FullPath));
        Assert.Equal(enabled, File.Exists(_root.Of("cgroup.subtree_control")) ? File.ReadAllText(_root.Of("cgroup.subtree_control")) : null);
    }
}

using Contracts;
using Worker.Hardware;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

public sealed class GuestMemoryTests
{
    private const int Small = 2048, Giant = 1 << 20;

    private static NumaNode Node(int number, string? cpus) => new(number, cpus, 1 << 20, []);

    private static readonly NumaNode[] One = [Node(0, "0-7")], Two = [Node(0, "0-63"), Node(1, "64-127")];
    private static readonly HugePagePool[] Pools = [new(0, Small, 4096, 4096), new(1, Small, 4096, 256), new(0, Giant, 4, 4), new(1, Giant, 0, 0)];

    private static readonly Dictionary<string, (int Mib, HugePageSize Pages, int? Device, NumaNode[] Host, HugePagePool[] Pools, GuestMemory? Expected, string? Refused)> Cases = new()
    {
        ["nothing known of the host"] = (512, HugePageSize.None, 0, [], [], new(512, null, null, null), null),
        ["nobody is given any unasked"] = (512, HugePageSize.None, 1, Two, Pools, new(512, null, 1, "64-127"), null),
        ["one node with enough"] = (512, HugePageSize.Size2Mi, null, One, [new(0, Small, 256, 256)], new(512, Small, null, null), null),
        ["one node with one too few"] = (512, HugePageSize.Size2Mi, null, One, [new(0, Small, 256, 255)], null, "NoHugePagesLeft"),
        ["a host of which only the whole is told"] = (512, HugePageSize.Size2Mi, null, [], [new(null, Small, 256, 256)], new(512, Small, null, null), null),
        ["no such size"] = (1024, HugePageSize.Size1Gi, null, One, [new(0, Small, 4096, 4096)], null, "HugePagesMissing"),
        ["the device's node of two, enough there"] = (512, HugePageSize.Size2Mi, 1, Two, Pools, new(512, Small, 1, "64-127"), null),
        ["the device's node of two, the rest from the other"] = (1024, HugePageSize.Size2Mi, 1, Two, Pools, new(1024, Small, 1, "64-127"), null),
        ["the device's node of two has none"] = (1024, HugePageSize.Size1Gi, 1, Two, Pools, new(1024, Giant, 1, "64-127"), null),
        ["both together have too few"] = (5120, HugePageSize.Size1Gi, 1, Two, Pools, null, "NoHugePagesLeft"),
        ["no device tells where"] = (512, HugePageSize.Size2Mi, null, Two, Pools, new(512, Small, null, null), null),
        ["what is unread is left to the kernel"] = (512, HugePageSize.Size2Mi, null, One, [new(0, Small, null, null, "HugePagesUnreadable")], new(512, Small, null, null), null),
        ["the device is on a third"] = (512, HugePageSize.None, 2, Two, Pools, new(512, null, null, null), null),
        ["a node without CPUs"] = (512, HugePageSize.None, 2, [.. Two, Node(2, "")], Pools, new(512, null, 2, null), null),
        ["a node whose CPUs are unread"] = (512, HugePageSize.None, 2, [.. Two, Node(2, null)], Pools, new(512, null, 2, null), null),
        ["a node whose list is a trick"] = (512, HugePageSize.None, 2, [.. Two, Node(2, "0-3 --pid 1")], Pools, new(512, null, 2, null), null),
    };

    public static TheoryData<string> CaseNames => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Of_EachHost_IsThis(string name)
    {
        var (mib, pages, device, host, pools, expected, refused) = Cases[name];
        if (refused is null)
        {
            Assert.Equal(expected, GuestMemory.Of(mib, pages, device, host, pools));
            return;
        }
        var problem = Assert.Throws<VmStartException>(() => GuestMemory.Of(mib, pages, device, host, pools));
        Assert.Equal(refused, problem.Reason);
        Assert.Contains(pages.Words(), problem.Message, StringComparison.Ordinal);
    }
}

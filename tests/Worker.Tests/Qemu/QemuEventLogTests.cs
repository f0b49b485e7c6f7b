using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QemuEventLogTests
{
    private static string Shutdown(string reason) =>
        """{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "REASON"}}""".Replace("REASON", reason, StringComparison.Ordinal) + "\r\n";
    private const string Greeting = """{"QMP": {"version": {}}}""" + "\r\n{\"return\": {}}\r\n";
    private const string Panic = """{"event": "GUEST_PANICKED", "data": {"action": "pause"}}""" + "\r\n";

    public static TheoryData<string, EndCause?> Logs => new()
    {
        { "", null },
        { Greeting, null },
        { Greeting + """{"event": "STOP"}""" + "\r\n", null },
        { Greeting + Shutdown("guest-shutdown"), EndCause.GuestPoweredOff },
        { Greeting + Shutdown("guest-reset"), EndCause.GuestReset },
        { Greeting + Panic + Shutdown("guest-panic"), EndCause.GuestPanicked },
        { Greeting + Shutdown("host-signal"), EndCause.VmmExited },
        { Greeting + Shutdown("guest-shutdown") + Shutdown("host-qmp-quit"), EndCause.GuestPoweredOff },
        { Greeting + Shutdown("something-new"), EndCause.GuestEndUnknown },
        { "\"event\" cut off {" + "\n" + Shutdown("guest-shutdown"), EndCause.GuestPoweredOff },
        { "[\"event\"]\n\"event\"\n" + Shutdown("guest-shutdown"), EndCause.GuestPoweredOff },
        { """{"event": "\ud800"}""" + "\n" + """{"\ud800": 1, "event": "STOP"}""" + "\n" + Shutdown("guest-shutdown"), EndCause.GuestPoweredOff },
        { """{"event": 7, "data": []}""" + "\n" + """{"event": "SHUTDOWN", "data": "x"}""" + "\n", EndCause.GuestEndUnknown },
    };

    [Theory]
    [MemberData(nameof(Logs))]
    public void Parse_TellsHowTheGuestEnded(string log, EndCause? cause) => Assert.Equal(cause, QemuEventLog.Parse(log));

    [Fact]
    public void Read_WhenOutputIsALink_DoesNotFollow()
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory.Of("secret"), Shutdown("guest-shutdown"));
        File.CreateSymbolicLink(directory.Of("events.out"), directory.Of("secret"));
        Assert.Null(QemuEventLog.Read(directory.Of("events")));
    }
}

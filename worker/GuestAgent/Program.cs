using System.Runtime.Versioning;
using Contracts;
using GuestAgent.Sessions;
using GuestAgent.Tracing;

namespace GuestAgent;

[SupportedOSPlatform("linux")]
internal static class Program
{
    private const int PortDeadlineMilliseconds = 60_000;

    private static int Main(string[] arguments)
    {
        if (arguments is ["power-button"])
            return PowerButton.Watch();
        if (arguments is [ExecCommand.Verb, .. var command])
            return ExecCommand.Become(command);
        if (arguments is ["trace-trial"])
            return TraceTrial.Run();
        for (var waited = 0; waited < PortDeadlineMilliseconds; waited += 10)
        {
            using var port = AgentPort.Find(AgentProtocol.PortName);
            if (port is not null)
            {
                new Agent(port, LibC.EventDescriptor(0, LibC.CloseOnExec)).Run();
                return 1;
            }
            LibC.Pause(10);
        }
        // Without the port there is nobody to talk to; init tries again.
        Console.Error.WriteLine($"sandbox-agent: no virtio port named {AgentProtocol.PortName}");
        return 1;
    }
}

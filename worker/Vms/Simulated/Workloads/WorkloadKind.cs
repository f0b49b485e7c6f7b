using System.Text.Json.Serialization;
using Contracts;

namespace Worker.Vms.Simulated.Workloads;

[JsonConverter(typeof(NamedEnum<WorkloadKind>))]
internal enum WorkloadKind { Streaming, Random, HotSet, PointerChase, ForkAndWrite, Storm }

internal static class Workloads
{
    public static Workload Of(WorkloadKind kind, WorkloadGround ground) => kind switch
    {
        WorkloadKind.Streaming => new Streaming(ground),
        WorkloadKind.Random => new RandomAccesses(ground),
        WorkloadKind.HotSet => new HotSet(ground),
        WorkloadKind.PointerChase => new PointerChase(ground),
        WorkloadKind.ForkAndWrite => new ForkAndWrite(ground),
        _ => new Storm(ground),
    };
}

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Worker;

/// <summary>What is executed to run the worker's own program with a verb: the arguments go before it.</summary>
internal sealed record WorkerProgram(string Path, IReadOnlyList<string> Arguments)
{
    /// <summary>It lies beside its files whether it was started by itself or through dotnet.</summary>
    public static readonly WorkerProgram Own = new(System.IO.Path.Combine(AppContext.BaseDirectory, "Sandbox.Worker"), []);

    /// <summary>All that such a process needs of an environment.</summary>
    public static IReadOnlyDictionary<string, string> Environment
    {
        get
        {
            var environment = new Dictionary<string, string> { ["DOTNET_EnableDiagnostics"] = "0" };
            // The program finds the runtime by itself only where it is installed for all.
            if (RuntimeFeature.IsDynamicCodeSupported && System.IO.Path.GetFullPath(System.IO.Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../..")) is { Length: > 1 } root)
                environment["DOTNET_ROOT"] = root;
            return environment;
        }
    }
}

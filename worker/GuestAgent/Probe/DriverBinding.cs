using Contracts;

namespace GuestAgent.Probe;

/// <summary>Moves one function to vfio-pci and gives it back to whatever driver had it.</summary>
internal sealed class DriverBinding(PciFunction function)
{
    private const string Vfio = "vfio-pci";

    public void Take()
    {
        Write("driver_override", Vfio, ProbeReasons.DriverOverrideFailed);
        if (SysfsPci.Driver(function) is { } present && present != Vfio)
            Write("driver/unbind", function.Address, ProbeReasons.UnbindFailed);
        if (SysfsPci.Driver(function) is null)
            Probe();
        if (SysfsPci.Driver(function) is var bound && bound != Vfio)
            throw new ProbeException(ProbeReasons.BindFailed, $"{function.Address} is bound to {bound ?? "no driver"} instead of {Vfio}");
    }

    public void GiveBack()
    {
        // A line feed alone clears the override.
        Write("driver_override", "\n", ProbeReasons.RestoreFailed);
        if (SysfsPci.Driver(function) == Vfio)
            Write("driver/unbind", function.Address, ProbeReasons.RestoreFailed);
        Probe();
    }

    private void Probe() => WriteTo(Path.Combine(SysfsPci.Root, "drivers_probe"), function.Address, ProbeReasons.BindFailed);

    private void Write(string file, string text, string reason) => WriteTo(Path.Combine(function.Folder, file), text, reason);

    private static void WriteTo(string path, string text, string reason)
    {
        try
        {
            File.WriteAllText(path, text);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProbeException(reason, $"write {path}: errno {error.HResult & 0xFFFF}");
        }
    }
}
